"""``summary.json``: figures by class, and warnings about the scale."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from tsfd_client.contract import USE
from tsfd_client.files import replacing
from tsfd_client.nuclei.plausibility import warning_of
from tsfd_client.nuclei.table import classes_of, read_batches, read_info, reading
from tsfd_client.pixels.artifacts import BLUR

FILE: Final = "summary.json"
_BLURRED: Final = 0.1  # of the area: less is only in the summary


def write(
    parquet: Path,
    area: float,
    stained: float | None,
    *,
    artifacts: Mapping[str, float] = MappingProxyType({}),
    left_out: Sequence[str] = (),
    scale_assumed: bool = False,
    remarks: Sequence[str] = (),
) -> None:
    """Write ``summary.json`` beside a ``nuclei.parquet``.

    Parameters
    ----------
    area
        Segmented area, mm².
    stained
        The part of `area` that is not glass, mm²; None if unknown.
    artifacts
        Area by kind, mm², of what does not belong to the tissue; empty if it was not searched for.
    left_out
        The kinds that were found and not segmented.
    scale_assumed
        Whether the image does not say its scale and the network's was assumed.
    remarks
        Other warnings about the image, in sentences.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    info = read_info(parquet)
    release = info.release
    numbers = np.zeros(len(release.class_names), np.int64)
    areas = np.zeros(len(release.class_names))
    all_areas = [np.empty(0)]
    for table in read_batches(parquet, ["class", "area_um2"]):
        classes = classes_of(table, release.class_names)
        all_areas.append(table["area_um2"].to_numpy())
        numbers += np.bincount(classes, minlength=len(numbers))
        areas += np.bincount(classes, all_areas[-1], len(numbers))
    nuclei = int(numbers.sum())
    summary = {
        "slide": info.slide,
        "width": info.width,
        "height": info.height,
        "mpp": info.mpp,
        "segmented_mm2": round(area, 4),
        "artifacts": {kind: round(mm2, 4) for kind, mm2 in artifacts.items()},
        "left_out": list(left_out),
        "nuclei": nuclei,
        "nuclei_per_mm2": round(nuclei / area, 2),
        "classes": {
            name: {
                "nuclei": int(numbers[number]),
                "per_mm2": round(numbers[number] / area, 2),
                "mean_area_um2": round(areas[number] / numbers[number], 2)
                if numbers[number]
                else None,
            }
            for number, name in enumerate(release.class_names)
            if number
        },
        "remarks": list(remarks),
        "scale_assumed": scale_assumed,
        "scale_warning": warning_of(np.concatenate(all_areas), info.mpp, stained),
        "release": release.name,
        "served": release.to_dict(),
        "client": version("tsfd-client"),
        "use": USE,
    }
    _write(parquet.parent, summary)


def add(folder: Path, **more: Any) -> None:
    """Add to the ``summary.json`` in a folder, or replace what it says.

    Raises
    ------
    OutputError
        If it is damaged.
    OSError
        If it cannot be written.
    """
    _write(folder, read(folder) | more)


def read(folder: Path) -> dict[str, Any]:
    """Read the ``summary.json`` in a folder.

    Raises
    ------
    OutputError
        If it is damaged.
    """
    with reading(folder):
        summary = dict(json.loads((folder / FILE).read_text()))
        {kind["nuclei"] for kind in summary["classes"].values()}  # fails here, not in a caller
        return summary


def artifacts_of(summary: dict[str, Any]) -> dict[str, tuple[float, bool]]:
    """Artifacts in a ``summary.json``, without what damage has made of others.

    Returns
    -------
    dict
        By kind that was searched for: its area in mm², and whether it was left out.
    """
    found, left_out = summary.get("artifacts"), summary.get("left_out")
    known = found.items() if isinstance(found, dict) else ()
    names = left_out if isinstance(left_out, list) else []
    return {
        kind: (mm2, kind in names)
        for kind, mm2 in known
        if isinstance(mm2, float) and 0 <= mm2 < math.inf
    }


def blur_warning(summary: dict[str, Any]) -> str | None:
    """Return a warning if much of what was segmented is blurred, else None."""
    mm2, is_left_out = artifacts_of(summary).get(BLUR, (0.0, False))
    area = summary["segmented_mm2"]
    if is_left_out or mm2 < _BLURRED * area:
        return None
    return f"{mm2:.2f} of {area:.2f} mm² are blurred: nuclei are missed and mistaken there."


def remarks_of(summary: dict[str, Any]) -> list[str]:
    """Remarks in a ``summary.json``, without what damage has made of others."""
    remarks = summary.get("remarks")
    return [text for text in remarks if isinstance(text, str)] if isinstance(remarks, list) else []


def _write(folder: Path, summary: dict[str, Any]) -> None:
    with replacing(folder / FILE) as partial:
        partial.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
