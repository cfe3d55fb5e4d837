"""What is sent, and the answers it must get, computed in this process.

The CPU profile must answer exactly as OpenVINO and the package ``instances`` do here. A GPU rounds
otherwise: its instance maps must agree at a panoptic quality of 0.98.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import instances
import numpy as np

from deploy.server import ARTEFACT
from deploy.setup import ROOT
from samples.patches import patches
from samples.synthetic import generate
from training.evaluation.panoptic_quality import panoptic_quality
from tsfd_client.assemble import TileResult, assemble, between
from tsfd_client.client import Client
from tsfd_client.nuclei import Nuclei
from tsfd_client.release import Release
from tsfd_client.tiling import tiling

KINDS = {"tile": 1, "batch": 4, "image": 9}
"""Kinds of requests, and the patches of each."""

_IMAGES = 4
_SIDE = 640
_LEAST_PQ = 0.98
_TISSUE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Answer:
    """An instance map and a table of nuclei, one row per nucleus."""

    instance_map: np.ndarray
    table: np.ndarray
    tissue_probs: np.ndarray


class Asked:
    """Everything that is sent, with the right answers.

    Attributes
    ----------
    right
        Right answers by kind, ``"tile"`` or ``"image"``.
    release
        Whose they are.
    """

    def __init__(self, tiles: list[Answer], images: list[Answer], release: str) -> None:
        self._pixels = {"tile": patches(), "image": _images()}
        self.right = {"tile": tiles, "image": images}
        self.release = release
        self._exact = True

    def accept_rounding(self) -> None:
        """Of a server on a GPU."""
        self._exact = False

    def save(self, path: Path) -> None:
        """Write all to a file, for `load` in other processes."""
        path.write_bytes(pickle.dumps(self))

    def ask(self, client: Client, kind: str, choice: int) -> bool:
        """Send a request of a kind; whether the answer is right.

        Raises
        ------
        tsfd_client.TsfdError
            If there is none.
        """
        if kind == "image":
            number = choice % _IMAGES
            found = client.segment(self._pixels["image"][number])
            return self._is_right([_of_image(found)], [self.right["image"][number]])
        tiles = self._pixels["tile"]
        numbers = (choice + np.arange(KINDS[kind])) % len(tiles)
        results = client.segment_tiles(tiles[numbers])
        right = [self.right["tile"][number] for number in numbers]
        return self._is_right([_of_tile(result) for result in results], right)

    def _is_right(self, found: Sequence[Answer], right: Sequence[Answer]) -> bool:
        agree = _are_equal if self._exact else _agree
        return all(agree(a, b) for a, b in zip(found, right, strict=True))


def compute(repository: Path = ROOT / "model_repository") -> Asked:
    """Compute all answers with what `repository` serves on a CPU; takes a few seconds."""
    import openvino  # as in the model itself: each process of the load test would import it

    network = openvino.Core().read_model(repository / ARTEFACT)
    network.reshape({"image": [1, 256, 256, 3]})
    compiled = openvino.compile_model(network, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"})
    told = json.loads((repository / "nuclei_postprocess/1/release.json").read_text())
    release = Release.from_dict(told)
    parameters = instances.Parameters(**release.settings.given())

    def result(tile: np.ndarray) -> TileResult:
        answer = compiled({"image": tile[None]})
        probabilities = {port.any_name: np.array(answer[port])[0] for port in compiled.outputs}
        found = instances.extract(
            probabilities["class_probs"],
            probabilities["boundary_prob"],
            parameters,
        )
        tissue = probabilities["tissue_probs"]
        return TileResult(found.instance_map, found.nuclei, tissue, release.name)

    images = []
    for image in _images():
        cut = tiling(image, release.mpp, release.mpp)
        results = [(tile, result(tile.image)) for tile in cut]
        more = [(tile, result(tile.image)) for tile in between(cut, results)]
        images.append(
            _of_image(assemble(cut, results, image.shape[:2], release.mpp, release, more))
        )
    return Asked([_of_tile(result(t)) for t in patches()], images, release.name)


def load(path: Path) -> Asked:
    """Read what `Asked.save` has written."""
    return pickle.loads(path.read_bytes())


def _images() -> list[np.ndarray]:
    return [generate(_SIDE, _SIDE, nuclei=60 * n, seed=n).image for n in range(1, _IMAGES + 1)]


def _of_tile(result: TileResult) -> Answer:
    return Answer(result.instance_map, result.nuclei, result.tissue_probs)


def _of_image(nuclei: Nuclei) -> Answer:
    columns = (nuclei.classes, nuclei.class_probs, nuclei.centroids, nuclei.boxes)
    table = np.column_stack([*columns, nuclei.areas_um2, [len(c) for c in nuclei.contours]])
    return Answer(nuclei.instance_map, table, nuclei.tissue_probs)


def _are_equal(found: Answer, right: Answer) -> bool:
    return (
        np.array_equal(found.instance_map, right.instance_map)
        and np.array_equal(found.table, right.table)
        and np.allclose(found.tissue_probs, right.tissue_probs, atol=_TISSUE_TOLERANCE)
    )


def _agree(found: Answer, right: Answer) -> bool:
    pq = panoptic_quality(right.instance_map, found.instance_map).pq
    return math.isnan(pq) or pq >= _LEAST_PQ  # NaN: no nucleus in either
