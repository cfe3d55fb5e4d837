"""Well-known binary of single-ring polygons, vectorised."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

# Little-endian, polygon, one ring. The number of points follows, then the points.
_HEADER = np.array([1, 3, 0, 0, 0, 1, 0, 0, 0], np.uint8)
_BEFORE = len(_HEADER) + 4
_POINT = 16


def encode(offsets: np.ndarray, points: np.ndarray) -> pa.Array:
    """Encode rings as polygons.

    Parameters
    ----------
    offsets
        int64 [n + 1]; ring i is ``points[offsets[i] : offsets[i + 1]]``.
    points
        float64 [m, 2]; x, y. Every ring is closed.

    Returns
    -------
    pyarrow.Array
        binary, n polygons.
    """
    lengths = np.diff(offsets)
    ends = np.concatenate([[0], np.cumsum(lengths * _POINT + _BEFORE)]).astype(np.int32)
    data = np.empty(ends[-1], np.uint8)
    headers = ends[:-1, None] + np.arange(_BEFORE)
    data[headers[:, : len(_HEADER)]] = _HEADER
    data[headers[:, len(_HEADER) :]] = lengths.astype("<u4").view(np.uint8).reshape(-1, 4)
    data[_is_point(ends)] = np.ascontiguousarray(points, "<f8").view(np.uint8).ravel()
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(lengths), buffers)


def decode(polygons: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Decode polygons made by `encode` into its arguments."""
    _, ends, data = polygons.buffers()
    if len(polygons) == 0:
        return np.zeros(1, np.int64), np.empty((0, 2))
    ends = np.frombuffer(ends, np.int32)[polygons.offset :][: len(polygons) + 1]
    data = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    ends = ends - ends[0]
    offsets = np.concatenate([[0], np.cumsum((np.diff(ends) - _BEFORE) // _POINT)])
    return offsets, data[_is_point(ends)].view("<f8").reshape(-1, 2)


def _is_point(ends: np.ndarray) -> np.ndarray:
    """Which bytes belong to points, bool [ends[-1]]."""
    points = np.ones(ends[-1], bool)
    points[ends[:-1, None] + np.arange(_BEFORE)] = False
    return points
