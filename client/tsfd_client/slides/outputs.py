"""Write the outputs of an image from its blocks.

The same blocks give the same bytes: if interrupted, the outputs are simply written again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from tsfd_client.files import PARQUET, replacing
from tsfd_client.names import shown
from tsfd_client.nuclei import geojson, summary
from tsfd_client.nuclei.overview import Overview
from tsfd_client.nuclei.save import write_picture
from tsfd_client.nuclei.table import (
    Info,
    Writer,
    classes_of,
    count,
    from_seams,
    on_tissue,
    read_batches,
    read_info,
)
from tsfd_client.pixels.artifacts import FILE as ARTIFACTS
from tsfd_client.pixels.artifacts import Artifact, write_artifacts
from tsfd_client.pixels.slide import Scaled, Slide
from tsfd_client.pixels.tissue import FILE as TISSUE
from tsfd_client.pixels.tissue import find_tissue, to_geojson
from tsfd_client.release import Release
from tsfd_client.slides.run import Run
from tsfd_client.stitching.blocks import Plan
from tsfd_client.stitching.seams import from_table, join_seams
from tsfd_client.stitching.versions import Version


def write_outputs(
    run: Run,
    scaled: Scaled,
    plan: Plan,
    thumbnail: np.ndarray,
    tissue: np.ndarray,
    area: float,
    artifacts: Sequence[Artifact],
    release: Release,
    *,
    whole: bool,
) -> int:
    """Write the outputs of a run and mark it as done.

    Parameters
    ----------
    run
        The run, in which all blocks of `plan` are done.
    scaled
        The image, at the network's scale.
    thumbnail
        uint8 [h, w, 3], the whole image.
    tissue
        bool [h, w], where it was segmented.
    area
        Area of `tissue`, mm².
    artifacts
        What was found that does not belong to the tissue, if it was searched for.
    release
        The network, post-processing and thresholds that found the nuclei.
    whole
        Whether the whole image was segmented.

    Returns
    -------
    int
        Number of nuclei.

    Raises
    ------
    ImageError
        If a picture can no longer be read.
    OSError
        If a file cannot be written.
    """
    slide = scaled.slide
    _write_nuclei(run, scaled, plan, tissue, release, run.folder / PARQUET)
    _write_tissue(run.folder / TISSUE, slide, tissue, whole=whole)
    write_artifacts(run.folder / ARTIFACTS, artifacts, slide.height, slide.width)
    return write_from_nuclei(
        *(run, slide, thumbnail, tissue, area, artifacts),
        scale_assumed=slide.scale_is_assumed,
        remarks=[shown(remark) for remark in slide.remarks],
    )


def write_from_nuclei(
    run: Run,
    slide: Slide,
    thumbnail: np.ndarray,
    tissue: np.ndarray,
    area: float,
    artifacts: Sequence[Artifact],
    *,
    scale_assumed: bool,
    remarks: Sequence[str],
) -> int:
    """Write the outputs that are made from the ``nuclei.parquet`` of a run; mark it as done.

    Parameters
    ----------
    slide
        The image.
    run, thumbnail, tissue, area, artifacts
        As of `write_outputs`, which also says what is returned and raised.
    scale_assumed, remarks
        As of `tsfd_client.nuclei.summary.write`.
    """
    parquet = run.folder / PARQUET
    if slide.is_picture:
        write_picture(run.folder, slide)
    else:
        geojson.write(parquet, run.folder / "nuclei.geojson.gz")
        _write_overview(parquet, slide, thumbnail, tissue, area, artifacts)
    # Glass may have been segmented as well, but has no nuclei.
    stained = float(find_tissue(thumbnail).mean()) * slide.area_mm2
    summary.write(
        parquet,
        area,
        min(area, stained),
        artifacts={each.kind: each.mm2(slide.area_mm2) for each in artifacts},
        left_out=[each.kind for each in artifacts if each.is_left_out and each.mask.any()],
        scale_assumed=scale_assumed,
        remarks=remarks,
    )
    run.finish()
    return count(parquet)


def _write_tissue(path: Path, slide: Slide, tissue: np.ndarray, *, whole: bool) -> None:
    if slide.is_picture and whole:
        path.unlink(missing_ok=True)  # left by an earlier run
        return
    with replacing(path) as partial:
        partial.write_text(json.dumps(to_geojson(tissue, slide.height, slide.width)) + "\n")


def _write_overview(
    parquet: Path,
    slide: Slide,
    thumbnail: np.ndarray,
    tissue: np.ndarray,
    area: float,
    artifacts: Sequence[Artifact],
) -> None:
    release = read_info(parquet).release
    overview = Overview(thumbnail, tissue, artifacts, slide.width, slide.height, release)
    for table in read_batches(parquet, ["class", "centroid_x", "centroid_y"]):
        x, y = (table[name].to_numpy() for name in ("centroid_x", "centroid_y"))
        overview.add(classes_of(table, release.class_names), x, y)
    with replacing(parquet.with_name("overview.png")) as partial:
        Image.fromarray(overview.draw(area, slide.area_mm2)).save(partial, "PNG")


def _write_nuclei(
    run: Run, scaled: Scaled, plan: Plan, tissue: np.ndarray, release: Release, path: Path
) -> None:
    """Write a row group per block, then those of the seams from top to bottom.

    Tiles extend beyond the tissue; nuclei with their centroid off the tissue are left out.
    """
    slide = scaled.slide
    info = Info(
        *(shown(slide.path.name), slide.width, slide.height, slide.mpp, scaled.scale, release),
        dicom_uids=slide.dicom_uids,
    )
    with Writer(path, info) as writer:
        for block in plan.blocks:
            writer.write(on_tissue(run.closed(block), tissue, slide.height, slide.width))
        seams = from_seams(
            join_seams(_open_rows(run, plan)),
            scale=scaled.scale,
            mpp=slide.mpp,
            release=release,
        )
        for table in seams:
            writer.write(on_tissue(table, tissue, slide.height, slide.width))


def _open_rows(run: Run, plan: Plan) -> Iterator[tuple[Iterator[Version], int]]:
    for blocks, below in plan.rows():
        yield chain.from_iterable(from_table(run.open(block)) for block in blocks), below
