"""The nuclei in each region: ``regions.csv``, and ``regions`` in ``summary.json``.

A nucleus is in a region if its centroid is. Regions may overlap: each has all its nuclei.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import shapely
from shapely import MultiPolygon, STRtree

from tsfd_client.errors import ImageError, OutputError
from tsfd_client.files import COUNTS, PARQUET, replacing
from tsfd_client.nuclei import summary
from tsfd_client.nuclei.regions import Region
from tsfd_client.nuclei.table import Info, classes_of, count, read_batches, read_info
from tsfd_client.pixels.tissue import FILE as TISSUE
from tsfd_client.pixels.tissue import read_tissue, share_on

_PLACE: Final = ("centroid_x", "centroid_y")
# A centroid on an edge counts as right below it, as on the page: of two regions side by side, one
# has the nucleus. Less than centroids differ by, and no multiple of each other: no edge along both.
_ASIDE: Final = (2.0**-16, 2.0**-32)

_SLIVER: Final = 5e-4  # of an area: less is not worth a word


@dataclass(frozen=True, eq=False)
class Counted:
    """A region and what is in it.

    Attributes
    ----------
    region
        The region, with a name.
    mm2
        Its area, also of what lies outside the image.
    tissue_mm2
        The area of its tissue, without what was not segmented; None if the result does not say it.
    nuclei
        Number of nuclei by class, zeros included.
    remark
        What users should know of it; empty if nothing.
    """

    region: Region
    mm2: float
    tissue_mm2: float | None
    nuclei: dict[str, int]
    remark: str

    def record(self) -> dict[str, Any]:
        """What ``summary.json`` says of it; of a region without nuclei, shares are None."""
        nuclei = sum(self.nuclei.values())
        return {
            "name": self.region.name,
            "class": self.region.kind,
            "mm2": round(self.mm2, 6),
            "tissue_mm2": None if self.tissue_mm2 is None else round(self.tissue_mm2, 6),
            "nuclei": nuclei,
            "nuclei_per_mm2": round(nuclei / self.mm2, 2) if self.mm2 else None,
            "nuclei_per_tissue_mm2": round(nuclei / self.tissue_mm2, 2)
            if self.tissue_mm2
            else None,
            "classes": {
                name: {"nuclei": number, "share": round(number / nuclei, 4) if nuclei else None}
                for name, number in self.nuclei.items()
            },
            "remark": self.remark,
        }


def write(result: Path, regions: Sequence[Region]) -> list[Counted]:
    """Count the nuclei of a result in each region and write them beside it.

    Parameters
    ----------
    result
        Folder of a finished result.
    regions
        With names that are all different.

    Returns
    -------
    list[Counted]
        In the order of `regions`.

    Raises
    ------
    OutputError
        If the result is damaged.
    OSError
        If a file cannot be written.
    """
    info = read_info(result / PARQUET)
    names = info.release.class_names
    numbers = _count(result / PARQUET, regions, names)
    tissue = _tissue(result / TISSUE, info)
    counted = [
        _counted(region, dict(zip(names[1:], row, strict=True)), info, tissue)
        for region, row in zip(regions, numbers[:, 1:].tolist(), strict=True)
    ]
    records = [each.record() for each in counted]
    with replacing(result / COUNTS) as partial:
        _write_csv(partial, records, names[1:])
    summary.add(result, regions=records)
    return counted


def membership(parquet: Path, regions: Sequence[Region]) -> np.ndarray:
    """Which nuclei of a ``nuclei.parquet`` are in which region, bool [nuclei, regions]."""
    member = np.zeros((count(parquet), len(regions)), bool)
    tree, begin = _tree(regions), 0
    for table in read_batches(parquet, _PLACE):
        for number, rows in _within(tree, table):
            member[begin + rows, number] = True
        begin += len(table)
    return member


def _count(parquet: Path, regions: Sequence[Region], names: Sequence[str]) -> np.ndarray:
    """Nuclei by region and class, int64 [regions, classes]."""
    numbers = np.zeros((len(regions), len(names)), np.int64)
    tree = _tree(regions)
    for table in read_batches(parquet, ["class", *_PLACE]):
        classes = classes_of(table, names)
        for number, rows in _within(tree, table):
            numbers[number] += np.bincount(classes[rows], minlength=len(names))
    return numbers


def _tree(regions: Sequence[Region]) -> STRtree:
    return STRtree([region.outline for region in regions])


def _within(tree: STRtree, table: pa.Table) -> Iterator[tuple[int, np.ndarray]]:
    """The regions near a table's nuclei, and the rows of those within each."""
    x, y = (table[name].to_numpy() + aside for name, aside in zip(_PLACE, _ASIDE, strict=True))
    for number in tree.query(shapely.box(x.min(), y.min(), x.max(), y.max())).tolist():
        outline = tree.geometries[number]
        left, top, right, bottom = outline.bounds
        rows = np.flatnonzero((left <= x) & (x <= right) & (top <= y) & (y <= bottom))
        yield number, rows[shapely.contains_xy(outline, x[rows], y[rows])]


def _tissue(path: Path, info: Info) -> np.ndarray | None:
    """The image's tissue, bool [h, w]; None if the result does not say it."""
    if not path.is_file():
        return None
    try:
        return read_tissue(path, info.height, info.width, info.mpp)
    except ImageError as error:
        raise OutputError(f"{error} Repair or remove the file.") from error


def _counted(
    region: Region, nuclei: dict[str, int], info: Info, tissue: np.ndarray | None
) -> Counted:
    area = _area(region)
    pixels = area.area
    inside = shapely.intersection(area, shapely.box(0, 0, info.width, info.height)).area
    size = f"the image, which is {info.width} x {info.height} pixels"
    remarks = []
    if not pixels:
        remarks.append("it has no area")
    elif not inside:
        remarks.append(f"it lies outside {size}: coordinates are pixels of the full resolution")
    elif inside < pixels * (1 - _SLIVER):
        remarks.append(f"{1 - inside / pixels:.1%} of it lies outside {size}, but counts as area")
    if not region.outline.is_valid and abs(region.outline.area - pixels) > _SLIVER * pixels:
        remarks.append("its outline crosses itself: what it encloses twice is not part of it")
    if inside and not any(nuclei.values()):
        remarks.append("there is no nucleus in it")
    mm2 = info.mpp**2 / 1e6
    of_tissue = None if tissue is None else _share(area, tissue, info) * inside * mm2
    return Counted(region, pixels * mm2, of_tissue, nuclei, "; ".join(remarks))


def _share(area: MultiPolygon, tissue: np.ndarray, info: Info) -> float:
    """Which part of an area is tissue, of what lies on the image."""
    polygons = [
        [np.array(ring.coords) for ring in (part.exterior, *part.interiors)] for part in area.geoms
    ]
    return share_on(tissue, polygons, info.height, info.width) if polygons else 0.0


def _area(region: Region) -> MultiPolygon:
    """What a region covers, also if its outline crosses itself."""
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(region.outline)))
    return MultiPolygon(parts[shapely.get_dimensions(parts) == 2].tolist())


def _write_csv(path: Path, records: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    columns = (
        *("name", "class", "mm2", "tissue_mm2"),
        *("nuclei", "nuclei_per_mm2", "nuclei_per_tissue_mm2"),
    )
    figures = ("nuclei", "share")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        by_class = [f"{figure}_{name}" for figure in figures for name in names]
        writer.writerow([*columns, *by_class, "remark"])
        for record in records:
            cells = [record["classes"][name][figure] for figure in figures for name in names]
            writer.writerow([*(record[column] for column in columns), *cells, record["remark"]])
