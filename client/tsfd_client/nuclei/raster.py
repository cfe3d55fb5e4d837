"""Nuclei as pixels again: the label image of a slide at 0.25 mpp, a square at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from tsfd_client.nuclei.table import Info, boxes_of, read_info, read_overlapping, rings_of


def label_shape(info: Info) -> tuple[int, int]:
    """Height and width of the label image of a slide."""
    height, width = (int(np.ceil(round(n / info.scale, 6))) for n in (info.height, info.width))
    return max(1, height), max(1, width)


def draw(parquet: Path, side: int) -> Iterator[tuple[int, int, np.ndarray | None]]:
    """Draw the squares of a label image, row by row.

    Parameters
    ----------
    parquet
        A ``nuclei.parquet``.
    side
        Of a square, pixels; those at the right and lower edge are smaller.

    Yields
    ------
    top, left
        Of the square.
    ids
        uint32 [h, w], the id of its nucleus in every pixel, 0 for none; None for a square without
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


def fill(
    offsets: np.ndarray, points: np.ndarray, ids: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Pixels within outlines that run along the edges of pixels and share none.

    Parameters
    ----------
    offsets
        int64 [n + 1]; ring i is ``points[offsets[i] : offsets[i + 1]]``.
    points
        int64 [m, 2]; x, y. Every ring is closed and turns as `tsfd_client.stitching.outline` does;
        it may reach out of the picture.
    ids
        int64 [n], each below 2^32.
    height, width
        Of the picture.

    Returns
    -------
    ndarray
        uint32 [height, width].
    """
    starts = np.delete(np.arange(len(points)), offsets[1:] - 1)
    x = points[starts, 0].clip(0, width)
    y, end = points[starts, 1].clip(0, height), points[starts + 1, 1].clip(0, height)
    # Along a row, the id is added where a nucleus begins and taken away where it ends.
    steps = ids.repeat(np.diff(offsets) - 1) * np.sign(end - y)
    length = np.abs(end - y)
    rows = np.arange(length.sum()) - (np.cumsum(length) - length).repeat(length)
    rows += np.minimum(y, end).repeat(length)
    # Taking away wraps around, and the sum back.
    picture = np.zeros((height, width + 1), np.uint32)
    np.add.at(picture, (rows, x.repeat(length)), steps.astype(np.uint32).repeat(length))
    np.cumsum(picture, axis=1, out=picture)
    return picture[:, :-1]
