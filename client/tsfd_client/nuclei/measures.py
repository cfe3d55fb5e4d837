"""Measurements of every nucleus, beside its table: ``measures.parquet``.

On the pixels of the nucleus at the network's scale. Lengths are micrometres, angles radians,
stains optical densities. Rows and row groups are those of ``nuclei.parquet``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tsfd_client.errors import OutputError
from tsfd_client.files import MEASURES, PARQUET, replacing
from tsfd_client.nuclei.neighbours import RADII, Neighbourhood
from tsfd_client.nuclei.raster import fill
from tsfd_client.nuclei.shapes import convex_areas, ellipses, perimeters
from tsfd_client.nuclei.stains import STAINS, stains
from tsfd_client.nuclei.table import (
    boxes_of,
    classes_of,
    count,
    read_batches,
    read_info,
    rings_of,
)
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.slide import Scaled

_SQUARE: Final = 1024  # pixels, in which nuclei are drawn and read at a time
_SHAPES: Final = (
    *("perimeter_um", "axis_major_length_um", "axis_minor_length_um"),
    *("eccentricity", "solidity", "orientation", "circularity"),
)
_STAINS: Final = tuple(f"{name}_{figure}" for name in STAINS for figure in ("mean", "std"))
_NEAREST: Final = "nearest_um"


def write(result: Path, scaled: Scaled, report: Callable[[int], None]) -> None:
    """Measure the nuclei of a result.

    Parameters
    ----------
    result
        Its folder.
    scaled
        Its image at the network's scale.
    report
        Called with the number of nuclei that were measured since the last call.

    Raises
    ------
    ImageError
        If the image cannot be read.
    OutputError
        If the result is damaged.
    OSError
        If the file cannot be written.
    """
    parquet = result / PARQUET
    info = read_info(parquet)
    names = info.release.class_names
    near, begin = _neighbourhood(parquet, info.mpp, names), 0
    figures = (*_SHAPES, *_STAINS, _NEAREST)
    counted = [f"neighbours_{radius}um_{name}" for radius in RADII for name in names[1:]]
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            *(pa.field(name, pa.float32()) for name in figures),
            *(pa.field(name, pa.int32(), nullable=False) for name in counted),
        ]
    )
    with (
        replacing(result / MEASURES) as partial,
        pq.ParquetWriter(partial, schema, compression="zstd") as file,
    ):
        for table in read_batches(parquet, ["id", "bbox", "geometry"]):
            rows = np.arange(begin, begin + len(table))
            begin += len(table)
            found = _measured(table, scaled, info.mpp * info.scale)
            found[_NEAREST], counts = near.of(rows)
            by_class = counts[:, :, 1:].transpose(0, 2, 1).reshape(len(counted), len(table))
            arrays = [
                table["id"],
                *(pa.array(found[name].astype(np.float32), from_pandas=True) for name in figures),
                *(pa.array(numbers.astype(np.int32)) for numbers in by_class),
            ]
            file.write_table(pa.table(arrays, schema=schema), row_group_size=len(table))
            report(len(table))


def is_measured(result: Path) -> bool:
    """Whether a result has measurements of its nuclei that can be read."""
    try:
        _check(result)
    except OutputError:
        return False
    return True


def columns_beside(parquet: Path) -> list[str]:
    """Names of the measurements beside a ``nuclei.parquet``; none if it is not measured."""
    path = parquet.with_name(MEASURES)
    if not path.is_file():
        return []
    _check(parquet.parent)
    names: list[str] = pq.read_schema(path).names
    return names[1:]


def read_batches_with(parquet: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """As `read_batches`, with the measurements, if there are any, as further columns.

    Raises
    ------
    OutputError
        If a file is damaged, or the measurements are of other nuclei.
    """
    path = parquet.with_name(MEASURES)
    if not path.is_file():
        yield from read_batches(parquet, columns)
        return
    _check(parquet.parent)
    for table, more in zip(read_batches(parquet, columns), read_batches(path), strict=True):
        names = [*table.column_names, *more.column_names[1:]]
        yield pa.table([*table.columns, *more.columns[1:]], names)


def _check(result: Path) -> None:
    path, again = result / MEASURES, "run `tsfd measure` again, or remove the file."
    try:
        nuclei = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{path} cannot be read: {again}") from error
    if nuclei != count(result / PARQUET):
        raise OutputError(f"{path} is of other nuclei: {again}")


def _neighbourhood(parquet: Path, mpp: float, names: Sequence[str]) -> Neighbourhood:
    places, classes = np.empty((count(parquet), 2)), np.empty(count(parquet), np.uint8)
    begin = 0
    for table in read_batches(parquet, ["class", "centroid_x", "centroid_y"]):
        rows = slice(begin, begin + len(table))
        begin = rows.stop
        places[rows, 0] = table["centroid_x"].to_numpy() * mpp
        places[rows, 1] = table["centroid_y"].to_numpy() * mpp
        classes[rows] = classes_of(table, names)
    return Neighbourhood(places, classes, len(names))


def _measured(table: pa.Table, scaled: Scaled, mpp: float) -> dict[str, np.ndarray]:
    """Shapes and stains of a table's nuclei, square by square; `mpp` is the network's."""
    found = {name: np.empty(len(table)) for name in (*_SHAPES, *_STAINS)}
    squares = boxes_of(table)[:, :2] // (_SQUARE * scaled.scale)
    order = np.lexsort(squares.T)
    begins = np.flatnonzero(np.diff(squares[order], axis=0, prepend=np.inf).any(axis=1))
    for rows in np.split(order, begins[1:]):
        for name, values in _in_square(table.take(pa.array(rows)), scaled, mpp).items():
            found[name][rows] = values
    return found


def _in_square(table: pa.Table, scaled: Scaled, mpp: float) -> dict[str, np.ndarray]:
    offsets, points = rings_of(table)
    corners = np.rint(points / scaled.scale).astype(np.int64)
    left, top = corners.min(axis=0).tolist()
    right, bottom = corners.max(axis=0).tolist()
    nuclei, ids = len(table), np.arange(1, len(table) + 1)
    frame = (bottom - top + 2, right - left + 2)  # a pixel of background around all
    labels = fill(offsets, corners - (left - 1, top - 1), ids, *frame)
    areas = np.bincount(labels.ravel(), minlength=nuclei + 1)[1:]
    perimeter = perimeters(labels, nuclei)
    shape = ellipses(offsets, corners)
    around = np.where(perimeter > 0, perimeter, np.nan)  # a single pixel has none
    pixels = scaled.read(Box(top, left, bottom, right))
    return {
        "perimeter_um": perimeter * mpp,
        "axis_major_length_um": shape["axis_major_length"] * mpp,
        "axis_minor_length_um": shape["axis_minor_length"] * mpp,
        "eccentricity": shape["eccentricity"],
        "solidity": areas / convex_areas(offsets, corners),
        "orientation": shape["orientation"],
        "circularity": 4 * np.pi * areas / around**2,
        **stains(pixels, np.ascontiguousarray(labels[1:-1, 1:-1]), nuclei),
    }
