"""Draw nuclei as label images, at the network's scale or the image's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tsfd_client.nuclei.table import Info, boxes_of, read_info, read_overlapping, rings_of


def label_shape(info: Info) -> tuple[int, int]:
    """Height and width of a slide's label image at the network's scale."""
    height, width = (int(np.ceil(round(n / info.scale, 6))) for n in (info.height, info.width))
    return max(1, height), max(1, width)


def draw(parquet: Path, side: int) -> Iterator[tuple[int, int, np.ndarray | None]]:
    """Draw the label image at the network's scale square by square, row by row.

    Parameters
    ----------
    parquet
        A ``nuclei.parquet``.
    side
        Side of a square, pixels; squares at the right and lower edge may be smaller.

    Yields
    ------
    top, left
        Upper left corner of the square.
    ids
        uint32 [h, w], the id of the nucleus in every pixel, 0 for none; None if the square has no
        nuclei.
    """
    info = read_info(parquet)
    height, width = label_shape(info)
    for top in range(0, height, side):
        bottom = min(top + side, height)
        band = read_overlapping(parquet, top * info.scale, bottom * info.scale)
        boxes = boxes_of(band) / info.scale
        for left in range(0, width, side):
            right = min(left + side, width)
            part = band.filter(pa.array((boxes[:, 0] < right) & (boxes[:, 2] > left)))
            if not len(part):
                yield top, left, None
                continue
            offsets, points = rings_of(part.combine_chunks())
            corners = np.rint(points / info.scale).astype(np.int64) - (left, top)
            yield (
                top,
                left,
                fill(offsets, corners, part["id"].to_numpy(), bottom - top, right - left),
            )


def draw_whole(table: pa.Table, scale: float, shape: tuple[int, int]) -> np.ndarray:
    """Draw the label image at the image's own scale.

    Parameters
    ----------
    table
        A table made by `tsfd_client.nuclei.table.from_nuclei`; row i - 1 becomes id i.
    scale
        Pixels of the image per pixel of the network.
    shape
        Height and width of the image.

    Returns
    -------
    int32 [H, W]
        0 is background.
    """
    rows, columns = (_sampled(length, scale) for length in shape)
    return _draw(table, np.arange(1, len(table) + 1), scale, rows, columns).view(np.int32)


def draw_bands(parquet: Path, side: int) -> Iterator[np.ndarray]:
    """As `draw_whole` from a ``nuclei.parquet``, in bands from the top: uint32 [<= `side`, W]."""
    info = read_info(parquet)
    rows, columns = (_sampled(length, info.scale) for length in (info.height, info.width))
    for top in range(0, info.height, side):
        sampled = rows[top : top + side]
        first, end = int(sampled[0]), int(sampled[-1]) + 1
        table = read_overlapping(parquet, first * info.scale, end * info.scale).combine_chunks()
        yield _draw(table, table["id"].to_numpy(), info.scale, sampled, columns)


def _draw(
    table: pa.Table, ids: np.ndarray, scale: float, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Draw the given rows and columns, which `_sampled` makes; uint32 [rows, columns]."""
    first, height = int(rows[0]), int(rows[-1] - rows[0]) + 1
    offsets, points = rings_of(table)
    corners = np.rint(points / scale).astype(np.int64) - (0, first)
    picture = fill(offsets, corners, ids, height, columns[-1] + 1)
    return picture if scale == 1 else picture[rows[:, None] - first, columns]


def _sampled(length: int, scale: float) -> np.ndarray:
    """For each of `length` image pixels, the network pixel that contains its centre."""
    last = max(1, round(length / scale)) - 1
    return np.minimum(((np.arange(length) + 0.5) / scale).astype(np.intp), last)


def fill(
    offsets: np.ndarray, points: np.ndarray, ids: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Fill outlines that run along pixel edges and do not overlap.

    Parameters
    ----------
    offsets
        int64 [n + 1]; ring i is ``points[offsets[i] : offsets[i + 1]]``.
    points
        int64 [m, 2]; x, y. Every ring is closed and has the orientation of
        `tsfd_client.stitching.outline`; it may extend beyond the picture.
    ids
        int64 [n], each below 2^32.
    height, width
        Size of the picture.

    Returns
    -------
    ndarray
        uint32 [height, width].
    """
    starts = np.delete(np.arange(len(points)), offsets[1:] - 1)
    x = points[starts, 0].clip(0, width)
    y, end = points[starts, 1].clip(0, height), points[starts + 1, 1].clip(0, height)
    # Along each row, add the id where a nucleus begins and subtract it where it ends.
    steps = ids.repeat(np.diff(offsets) - 1) * np.sign(end - y)
    length = np.abs(end - y)
    rows = np.arange(length.sum()) - (np.cumsum(length) - length).repeat(length)
    rows += np.minimum(y, end).repeat(length)
    # Subtraction wraps around in uint32; the cumulative sum wraps back.
    picture = np.zeros((height, width + 1), np.uint32)
    np.add.at(picture, (rows, x.repeat(length)), steps.astype(np.uint32).repeat(length))
    np.cumsum(picture, axis=1, out=picture)
    return picture[:, :-1]
