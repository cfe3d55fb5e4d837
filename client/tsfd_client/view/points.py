"""Centroids of nuclei, from which the page counts: ``nuclei.bin``.

Columns one after another, little-endian; index i is the nucleus with id i + 1:

    x, y    float32, pixels of level 0
    area    uint16, tenths of a square micrometre
    class   uint8, class ids, which begin with 1
    prob    uint8, per cent
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tsfd_client.nuclei.table import classes_of, count, read_batches, read_info

_COLUMNS = {"x": "<f4", "y": "<f4", "area": "<u2", "class": "u1", "prob": "u1"}


def write(parquet: Path, path: Path) -> None:
    """Write the centroids of a ``nuclei.parquet``."""
    columns = {name: np.empty(count(parquet), kind) for name, kind in _COLUMNS.items()}
    names = read_info(parquet).release.class_names
    begin = 0
    for table in read_batches(
        parquet, ["class", "class_prob", "area_um2", "centroid_x", "centroid_y"]
    ):
        rows = slice(begin, begin + len(table))
        columns["x"][rows] = table["centroid_x"].to_numpy()
        columns["y"][rows] = table["centroid_y"].to_numpy()
        columns["area"][rows] = np.minimum(np.rint(10 * table["area_um2"].to_numpy()), 65_535)
        columns["class"][rows] = classes_of(table, names)
        columns["prob"][rows] = np.rint(100 * table["class_prob"].to_numpy())
        begin = rows.stop
    with path.open("wb") as file:
        for column in columns.values():
            file.write(column.tobytes())


def is_whole(parquet: Path, path: Path) -> bool:
    """Whether a file of centroids holds those of all nuclei."""
    row = sum(np.dtype(kind).itemsize for kind in _COLUMNS.values())
    return path.stat().st_size == row * count(parquet)
