"""What lies on a slide and does not belong to the tissue: kinds of artifacts, and their file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tsfd_client.files import replacing
from tsfd_client.pixels.tissue import read_tissue, to_geojson

FILE: Final = "artifacts.geojson"
"""Name of their outlines in a result's folder; missing if none were found or searched for."""
PEN: Final = "pen"
BLUR: Final = "blur"
COLOURS: Final = {PEN: (232, 89, 12), BLUR: (25, 113, 194)}
"""Colours of outlines, RGB, by kind."""


@dataclass(frozen=True)
class Artifact:
    """All places of one kind.

    Attributes
    ----------
    kind
        `PEN` or `BLUR`.
    mask
        bool [h, w], the whole image at any scale.
    is_left_out
        Whether it was not segmented.
    """

    kind: str
    mask: np.ndarray
    is_left_out: bool

    def mm2(self, whole: float) -> float:
        """Area in mm², of an image of which the whole area is given."""
        return float(self.mask.mean()) * whole


def write_artifacts(path: Path, artifacts: Sequence[Artifact], height: int, width: int) -> None:
    """Write the outlines as GeoJSON, in pixels of level 0, with the kind as QuPath's class.

    Without any, a file that an earlier run has left is removed.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    features: list[dict[str, Any]] = []
    for artifact in artifacts:
        said = {"objectType": "annotation", "classification": {"name": artifact.kind}}
        found = to_geojson(artifact.mask, height, width)["features"]
        features += [feature | {"properties": said} for feature in found]
    if not features:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as partial:
        content = {"type": "FeatureCollection", "features": features}
        partial.write_text(json.dumps(content) + "\n")


def read_artifacts(
    path: Path, height: int, width: int, mpp: float, known: Mapping[str, tuple[float, bool]]
) -> list[Artifact]:
    """Read the artifacts of a result.

    Parameters
    ----------
    path
        Of the outlines.
    height, width
        Of the slide's level 0, pixels.
    mpp
        Of level 0, micrometres per pixel.
    known
        By kind to read: its area in mm², and whether it was left out.

    Raises
    ------
    ImageError
        If the file is damaged, or has nothing of a kind that has an area.
    """
    return [
        Artifact(
            kind,
            read_tissue(path, height, width, mpp, kind) if mm2 else np.zeros((1, 1), bool),
            is_left_out,
        )
        for kind, (mm2, is_left_out) in known.items()
    ]
