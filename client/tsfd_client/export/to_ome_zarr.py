"""Nuclei as a label image: OME-Zarr 0.5, the id of its nucleus in every pixel.

What else is known of a nucleus stands under its id in ``nuclei.parquet``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr

from tsfd_client.slides.table import Info, boxes_of, read_info, read_overlapping, rings_of

_SHARD = 2048  # side of what is drawn and written as one, and is one file
_CHUNK = 512  # side of what is read as one

_Level = zarr.Array[Any]


def write(parquet: Path, path: Path) -> None:
    """Write the pyramid: 0.25 mpp, then every second pixel of the level before, uint32 [H, W]."""
    info = read_info(parquet)
    shape = (_pixels(info.height, info.scale), _pixels(info.width, info.scale))
    group = zarr.open_group(path, mode="w-", zarr_format=3)
    level = _create(group, 0, shape)
    _draw(parquet, info, level)
    count = 1
    while max(level.shape) > _CHUNK:
        level = _halve(level, group, count)
        count += 1
    group.attrs["ome"] = _metadata(info, count)


def _pixels(side: int, scale: float) -> int:
    """Pixels at 0.25 mpp that begin within a side of level 0."""
    return max(1, int(np.ceil(round(side / scale, 6))))


def _create(group: zarr.Group, number: int, shape: tuple[int, ...]) -> _Level:
    return group.create_array(
        str(number),
        shape=shape,
        dtype="uint32",
        chunks=(_CHUNK, _CHUNK),
        shards=(_SHARD, _SHARD),
        fill_value=0,
        dimension_names=("y", "x"),
    )


def _squares(shape: tuple[int, ...]) -> Iterator[tuple[int, int, int, int]]:
    """Top, bottom, left and right of every shard, row by row."""
    for top in range(0, shape[0], _SHARD):
        for left in range(0, shape[1], _SHARD):
            yield top, min(top + _SHARD, shape[0]), left, min(left + _SHARD, shape[1])


def _draw(parquet: Path, info: Info, level: _Level) -> None:
    drawn = -1
    for top, bottom, left, right in _squares(level.shape):
        if top != drawn:
            band = read_overlapping(parquet, top * info.scale, bottom * info.scale)
            boxes = boxes_of(band) / info.scale
            drawn = top
        part = band.filter(pa.array((boxes[:, 0] < right) & (boxes[:, 2] > left)))
        if len(part):
            offsets, points = rings_of(part.combine_chunks())
            corners = np.rint(points / info.scale).astype(np.int64) - (left, top)
            ids = part["id"].to_numpy()
            level[top:bottom, left:right] = fill(offsets, corners, ids, bottom - top, right - left)


def fill(
    offsets: np.ndarray, points: np.ndarray, ids: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Pixels within outlines that run along the edges of pixels and share none.

    Parameters
    ----------
    offsets
        int64 [n + 1]; ring i is ``points[offsets[i] : offsets[i + 1]]``.
    points
        int64 [m, 2]; x, y. Every ring is closed and turns as `tsfd_client.outline` does; it may
        reach out of the picture.
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


def _halve(level: _Level, group: zarr.Group, number: int) -> _Level:
    shape = tuple((side + 1) // 2 for side in level.shape)
    half = _create(group, number, shape)
    for top, bottom, left, right in _squares(shape):
        pixels = np.asarray(level[2 * top : 2 * bottom, 2 * left : 2 * right])[::2, ::2]
        if pixels.any():
            half[top:bottom, left:right] = pixels
    return half


def _metadata(info: Info, count: int) -> dict[str, Any]:
    pixel = info.mpp * info.scale
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [{"type": "scale", "scale": [pixel * 2**number] * 2}],
        }
        for number in range(count)
    ]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    multiscale = {"name": info.slide, "axes": axes, "datasets": datasets, "type": "nearest"}
    return {"version": "0.5", "multiscales": [multiscale], "image-label": {"version": "0.5"}}
