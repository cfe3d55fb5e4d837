"""The table of an image's nuclei: ``nuclei.parquet``, GeoParquet 1.1.

Coordinates are pixels of level 0, x to the right, y down; the corner of the first pixel is (0, 0).
The same nuclei give the same bytes.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tsfd_client.errors import OutputError
from tsfd_client.files import COUNTS, MEASURES, replacing
from tsfd_client.names import check_utf8
from tsfd_client.nuclei import wkb
from tsfd_client.pixels.tissue import lies_on
from tsfd_client.release import Release
from tsfd_client.stitching.join import Nucleus
from tsfd_client.stitching.outline import closed_outlines

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_AT_A_TIME: Final = 4_096

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("class", pa.string(), nullable=False),
        pa.field("class_prob", pa.float32(), nullable=False),
        pa.field("area_um2", pa.float32(), nullable=False),
        pa.field("centroid_x", pa.float64(), nullable=False),
        pa.field("centroid_y", pa.float64(), nullable=False),
        pa.field(
            "bbox",
            pa.struct([pa.field(side, pa.float64(), nullable=False) for side in _SIDES]),
            nullable=False,
        ),
        pa.field("geometry", pa.binary(), nullable=False),
    ]
)
"""Columns of the file. The outline is a polygon along pixel edges at the network's scale."""


@dataclass(frozen=True)
class Info:
    """Metadata of the file: the image and what segmented it.

    Attributes
    ----------
    slide
        File name of the image.
    width, height
        Size of level 0, pixels.
    mpp
        Micrometres per pixel of level 0.
    scale
        Pixels of level 0 per pixel of the network.
    release
        The network, post-processing and thresholds that found the nuclei.
    dicom_uids
        DICOM identifiers of the slide by keyword; empty for other formats.
    """

    slide: str
    width: int
    height: int
    mpp: float
    scale: float
    release: Release
    dicom_uids: dict[str, str] = field(default_factory=dict)


def from_nuclei(
    nuclei: Sequence[Nucleus], *, scale: float, mpp: float, release: Release
) -> pa.Table:
    """Measure nuclei and convert them to pixels of level 0.

    In an image that is enlarged for the network, nuclei of fewer than the release's smallest area
    in the image's own pixels are left out: enlarging shows no smaller nuclei, only specks.

    Parameters
    ----------
    nuclei
        Nuclei at the network's scale.
    scale
        Pixels of level 0 per pixel of the network.
    mpp
        Micrometres per pixel of level 0.
    release
        The release that found them.

    Returns
    -------
    pyarrow.Table
        The columns of `SCHEMA` without the id; rows are sorted by the nuclei's places.
    """
    if scale < 1:
        least = (release.settings.min_area or 0) / scale**2
        nuclei = [nucleus for nucleus in nuclei if np.count_nonzero(nucleus.mask) >= least]
    # Relative to each nucleus's own box: small numbers stay exact.
    offsets, points = closed_outlines([nucleus.mask for nucleus in nuclei])
    corners = np.array([(n.x, n.y) for n in nuclei], np.int64).reshape(-1, 2)
    sizes = np.array([n.mask.shape[::-1] for n in nuclei], np.int64).reshape(-1, 2)
    pixels, centroids = _measure(offsets, points)
    centroids = (corners + centroids) * scale
    boxes = np.hstack([corners, corners + sizes]) * scale
    polygons = (points + corners.repeat(np.diff(offsets), axis=0)) * scale

    classes = np.array([n.nucleus_class for n in nuclei], np.int64)
    columns = {
        "class": pa.array(release.class_names).take(pa.array(classes)),
        "class_prob": np.array([n.class_prob for n in nuclei], np.float32),
        "area_um2": (pixels * (mpp * scale) ** 2).astype(np.float32),
        "centroid_x": np.ascontiguousarray(centroids[:, 0]),
        "centroid_y": np.ascontiguousarray(centroids[:, 1]),
        "bbox": sides(boxes),
        "geometry": wkb.encode(offsets, polygons),
    }
    # By place: the first corner of an outline is that of the first pixel in the top row.
    order = np.lexsort((points[offsets[:-1], 0], *corners.T))
    return pa.table(columns, schema=SCHEMA.remove(0)).take(pa.array(order))


def from_seams(
    nuclei: Iterator[Nucleus], *, scale: float, mpp: float, release: Release
) -> Iterator[pa.Table]:
    """As `from_nuclei` for any number of nuclei, in tables of limited size."""
    while some := list(islice(nuclei, _AT_A_TIME)):
        yield from_nuclei(some, scale=scale, mpp=mpp, release=release)


class Writer:
    """Writes the file one row group at a time, as a context manager.

    The file appears when it is complete. Counts and measurements of an earlier one are removed.

    Raises
    ------
    OSError
        If the file cannot be written; a previous file is left in place.
    OutputError
        If its path is not UTF-8.
    """

    def __init__(self, path: Path, info: Info) -> None:
        check_utf8(path.parent)
        self._path = path
        self._info = info
        self._count = 0
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])

    def __enter__(self) -> Self:
        for name in (COUNTS, MEASURES):
            self._path.with_name(name).unlink(missing_ok=True)
        with ExitStack() as stack:
            partial = stack.enter_context(replacing(self._path))
            self._file = stack.enter_context(
                pq.ParquetWriter(partial, SCHEMA, compression="zstd", use_dictionary=["class"])
            )
            stack.push(self._describe)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def write(self, table: pa.Table) -> None:
        """Add a table made by `from_nuclei` as a row group; ids continue from the last one."""
        if len(table) == 0:
            return
        ids = pa.array(np.arange(self._count + 1, self._count + 1 + len(table)))
        table = pa.table([ids, *table.select(SCHEMA.names[1:]).columns], schema=SCHEMA)
        self._file.write_table(table, row_group_size=len(table))
        self._count += len(table)
        boxes = boxes_of(table)
        self._bounds[:2] = np.minimum(self._bounds[:2], boxes[:, :2].min(axis=0))
        self._bounds[2:] = np.maximum(self._bounds[2:], boxes[:, 2:].max(axis=0))

    def _describe(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        geometry: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": ["Polygon"],
            "crs": None,
            "edges": "planar",
            "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
        }
        if self._count:
            geometry["bbox"] = self._bounds.tolist()
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
        info = {**vars(self._info), "release": self._info.release.to_dict()}
        self._file.add_key_value_metadata(
            {"geo": json.dumps(geo), "tsfd": json.dumps(info, ensure_ascii=False)}
        )


@contextmanager
def reading(result: Path | str) -> Iterator[None]:
    """Report any failure to read the files of a result as an OutputError.

    Raises
    ------
    OutputError
        If a file is damaged or missing, or exists but cannot be opened.
    """
    check_utf8(result)
    try:
        yield
    except (OutputError, MemoryError):
        raise
    except Exception as error:  # readers raise all kinds of errors on damaged files
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise OutputError(f"{result} cannot be read: {error.strerror}.") from error
        raise OutputError(
            f"{result} is damaged: remove it and run `tsfd segment` again."
        ) from error


def read_info(path: Path) -> Info:
    """Read the metadata of a ``nuclei.parquet``; OutputError if it is damaged."""
    with reading(path.parent):
        info = json.loads(pq.read_metadata(path).metadata[b"tsfd"])
        return Info(**info | {"release": Release.from_dict(info["release"])})


def count(path: Path) -> int:
    """Count the nuclei in a ``nuclei.parquet``; OutputError if it is damaged."""
    with reading(path.parent):
        return int(pq.read_metadata(path).num_rows)


def read_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the row groups of a ``nuclei.parquet`` in order; `columns` limits what is read.

    Raises
    ------
    OutputError
        If the file is damaged.
    """
    with reading(path.parent), pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns).combine_chunks()


def read_overlapping(path: Path, top: float, bottom: float) -> pa.Table:
    """Read the nuclei of a ``nuclei.parquet`` whose boxes overlap the rows `top` to `bottom`.

    Raises
    ------
    OutputError
        If the file is damaged.
    """
    parts = [SCHEMA.empty_table()]
    with reading(path.parent), pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group)
            if _limits(statistics, "ymin").min < bottom and _limits(statistics, "ymax").max > top:
                part = file.read_row_group(group)
                boxes = boxes_of(part)
                parts.append(part.filter(pa.array((boxes[:, 1] < bottom) & (boxes[:, 3] > top))))
    return pa.concat_tables(parts)


def on_tissue(table: pa.Table, tissue: np.ndarray, height: int, width: int) -> pa.Table:
    """Keep the nuclei whose centroids lie on the tissue, bool [h, w] of the whole image."""
    x, y = (table[name].to_numpy() for name in ("centroid_x", "centroid_y"))
    return table.filter(pa.array(lies_on(tissue, x, y, height, width)))


def classes_of(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """Classes of a table's nuclei as indices into `names`, uint8 [n]."""
    numbers: np.ndarray = pc.index_in(table["class"], pa.array(names)).to_numpy().astype(np.uint8)
    return numbers


def sides(boxes: np.ndarray) -> pa.StructArray:
    """Convert boxes, float64 [n, 4], to a column; the inverse of `boxes_of`."""
    fields = list(SCHEMA.field("bbox").type)
    return pa.StructArray.from_arrays([pa.array(s) for s in boxes.T.copy()], fields=fields)


def boxes_of(table: pa.Table) -> np.ndarray:
    """Boxes of a table's nuclei, float64 [n, 4]: x_min, y_min, x_max, y_max."""
    boxes = table["bbox"].combine_chunks()
    return np.stack([boxes.field(side).to_numpy() for side in _SIDES], axis=1)


def rings_of(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of a table's nuclei.

    Returns
    -------
    offsets
        int64 [n + 1]; ring i is ``points[offsets[i] : offsets[i + 1]]``.
    points
        float64 [m, 2]; x, y. Every ring is closed.
    """
    return wkb.decode(table["geometry"].combine_chunks())


def _limits(group: pq.RowGroupMetaData, side: str) -> pq.Statistics:
    """Statistics (min, max) of one side of the boxes in a row group."""
    columns = (group.column(index) for index in range(group.num_columns))
    return next(c.statistics for c in columns if c.path_in_schema == f"bbox.{side}")


def _measure(offsets: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas and centroids of closed rings with integer corners: float64 [n], float64 [n, 2]."""
    if len(offsets) == 1:
        return np.empty(0), np.empty((0, 2))
    # One term per edge; the step from the end of a ring to the next ring is not an edge.
    ahead = np.roll(points, -1, axis=0)
    cross = points[:, 0] * ahead[:, 1] - ahead[:, 0] * points[:, 1]
    cross[offsets[1:] - 1] = 0
    twice = np.add.reduceat(cross, offsets[:-1])
    moments = np.add.reduceat((points + ahead) * cross[:, None], offsets[:-1])
    return np.abs(twice) / 2, moments / (3 * twice[:, None])
