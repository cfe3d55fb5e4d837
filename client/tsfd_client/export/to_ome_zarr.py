"""Nuclei as a label image in OME-Zarr 0.5: each pixel holds the id of its nucleus.

The class and measurements of a nucleus are in ``nuclei.parquet``, under the same id.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tsfd_client.nuclei.raster import draw, label_shape
from tsfd_client.nuclei.table import Info, read_info

_SHARD = 2048  # side of the squares that are drawn and written at a time, one file each
_CHUNK = 512  # side of the squares that are read at a time

_Level = zarr.Array[Any]


def write(parquet: Path, path: Path) -> None:
    """Write the pyramid, uint32: the network's scale, then levels of every second pixel."""
    info = read_info(parquet)
    group = zarr.open_group(path, mode="w-", zarr_format=3)
    level = _create(group, 0, label_shape(info))
    for top, left, ids in draw(parquet, _SHARD):
        if ids is not None:
            height, width = ids.shape
            level[top : top + height, left : left + width] = ids
    count = 1
    while max(level.shape) > _CHUNK:
        level = _halve(level, group, count)
        count += 1
    group.attrs["ome"] = _metadata(info, count)


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
    """Yield top, bottom, left and right of every shard, row by row."""
    for top in range(0, shape[0], _SHARD):
        for left in range(0, shape[1], _SHARD):
            yield top, min(top + _SHARD, shape[0]), left, min(left + _SHARD, shape[1])


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
