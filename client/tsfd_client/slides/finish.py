"""From the blocks of a slide to its outputs: joined over the seams, counted, drawn.

The same blocks give the same bytes: an ending that was interrupted is simply made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from PIL import Image

from tsfd_client.contract import USE
from tsfd_client.files import replacing
from tsfd_client.nuclei import geojson
from tsfd_client.nuclei.overview import Overview
from tsfd_client.nuclei.plausibility import warning_of
from tsfd_client.nuclei.table import Info, Writer, classes_of, from_nuclei, read_batches
from tsfd_client.pixels.slide import Scaled
from tsfd_client.pixels.tissue import FILE as TISSUE
from tsfd_client.pixels.tissue import find_tissue, lies_on, to_geojson
from tsfd_client.release import Release
from tsfd_client.slides.plan import Plan
from tsfd_client.slides.run import Run
from tsfd_client.stitching.seams import from_table, join_seams
from tsfd_client.stitching.versions import Version

_AT_A_TIME: Final = 4_096  # nuclei of the seams in a row group: as many as a dense block has


def finish(
    run: Run,
    scaled: Scaled,
    plan: Plan,
    thumbnail: np.ndarray,
    tissue: np.ndarray,
    area: float,
    release: Release,
) -> dict[str, Any]:
    """Write what a run is for, and say that it is done.

    Parameters
    ----------
    run
        All blocks of `plan` are done.
    scaled
        The slide, at the network's scale.
    thumbnail
        uint8 [h, w, 3], the whole slide.
    tissue
        bool [h, w], where it was segmented.
    area
        Of `tissue`, mm².
    release
        Which network, post-processing and thresholds found the nuclei.

    Returns
    -------
    dict
        What ``summary.json`` says.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    slide, names = scaled.slide, release.class_names
    parquet = run.folder / "nuclei.parquet"
    _write_nuclei(run, scaled, plan, tissue, release, parquet)
    geojson.write(parquet, run.folder / "nuclei.geojson.gz")

    overview = Overview(thumbnail, tissue, slide.width, slide.height, release)
    areas = np.zeros(len(names))
    all_areas = []
    for table in read_batches(parquet, ["class", "area_um2", "centroid_x", "centroid_y"]):
        classes = classes_of(table, names)
        all_areas.append(table["area_um2"].to_numpy())
        areas += np.bincount(classes, all_areas[-1], len(names))
        overview.add(classes, table["centroid_x"].to_numpy(), table["centroid_y"].to_numpy())
    picture = overview.draw(area)
    with replacing(run.folder / "overview.png") as partial:
        Image.fromarray(picture).save(partial, "PNG")
    with replacing(run.folder / TISSUE) as partial:
        partial.write_text(json.dumps(to_geojson(tissue, slide.height, slide.width)) + "\n")

    counts = overview.counts()
    # What was segmented despite being glass has no nuclei.
    stained = float(find_tissue(thumbnail).mean()) * slide.area_mm2
    summary = {
        "slide": slide.path.name,
        "width": slide.width,
        "height": slide.height,
        "mpp": slide.mpp,
        "segmented_mm2": round(area, 4),
        "nuclei": sum(counts.values()),
        "nuclei_per_mm2": round(sum(counts.values()) / area, 2),
        "classes": {
            name: {
                "nuclei": number,
                "per_mm2": round(number / area, 2),
                "mean_area_um2": round(areas[index] / number, 2) if number else None,
            }
            for index, (name, number) in enumerate(counts.items(), start=1)
        },
        "scale_warning": warning_of(
            np.concatenate([np.empty(0), *all_areas]), slide.mpp, min(area, stained)
        ),
        "release": release.name,
        "served": release.to_dict(),
        "client": version("tsfd-client"),
        "use": USE,
    }
    with replacing(run.folder / "summary.json") as partial:
        partial.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    run.finish()
    return summary


def read_summary(folder: Path) -> dict[str, Any]:
    """What the ``summary.json`` of a run that is done says."""
    return dict(json.loads((folder / "summary.json").read_text()))


def _write_nuclei(
    run: Run, scaled: Scaled, plan: Plan, tissue: np.ndarray, release: Release, path: Path
) -> None:
    """A row group per block, then those of the seams from top to bottom.

    Tiles reach beyond the tissue; what has its centroid there is left out.
    """
    slide, names = scaled.slide, release.class_names

    def on_tissue(table: pa.Table) -> pa.Table:
        x, y = (table[name].to_numpy() for name in ("centroid_x", "centroid_y"))
        return table.filter(pa.array(lies_on(tissue, x, y, slide.height, slide.width)))

    info = Info(
        *(slide.path.name, slide.width, slide.height, slide.mpp, scaled.scale, release),
        dicom_uids=slide.dicom_uids,
    )
    with Writer(path, info) as writer:
        for block in plan.blocks:
            writer.write(on_tissue(run.closed(block)))
        seams = join_seams(_open_rows(run, plan))
        while nuclei := list(islice(seams, _AT_A_TIME)):
            table = from_nuclei(nuclei, scale=scaled.scale, mpp=slide.mpp, classes=names)
            writer.write(on_tissue(table))


def _open_rows(run: Run, plan: Plan) -> Iterator[tuple[Iterator[Version], int]]:
    for blocks, below in plan.rows():
        yield chain.from_iterable(from_table(run.open(block)) for block in blocks), below
