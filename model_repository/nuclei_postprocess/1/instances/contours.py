"""Trace the outer borders of labels, pixel by pixel."""

import numpy as np

from instances.compile import kernel


@kernel
def _trace(labels, start, stride, points, row):
    """Follow one outer border clockwise; return its length.

    Its (x, y) are written from ``points[row]`` on, as far as there is room.
    """
    # Clockwise from east, with y pointing down.
    steps = (1, stride + 1, stride, stride - 1, -1, -stride - 1, -stride, -stride + 1)
    label = labels[start]
    p = start
    scan = 0  # no pixel of the instance lies above its first pixel, or west of it in its row
    first_direction = -1
    length = 0
    while True:
        direction = -1
        for turn in range(8):
            if labels[p + steps[(scan + turn) & 7]] == label:
                direction = (scan + turn) & 7
                break
        if p == start and direction == first_direction and length > 0:
            return length
        if row + length < len(points):
            points[row + length, 0] = p % stride - 1
            points[row + length, 1] = p // stride - 1
        length += 1
        if direction < 0:  # a single pixel
            return length
        if first_direction < 0:
            first_direction = direction
        p += steps[direction]
        scan = (direction + 7 - (direction & 1)) & 7  # just past the last background pixel


@kernel
def trace_contours(labels, starts, stride):
    """Trace the outer borders that begin at `starts`; returns points [m, 2] and lengths [n]."""
    points = np.empty((max(64 * starts.size, 1), 2), np.int16)
    lengths = np.zeros(starts.size, np.int64)
    row = 0
    for i in range(starts.size):
        length = _trace(labels, starts[i], stride, points, row)
        if row + length > len(points):  # it was too long to be written whole
            larger = np.empty((2 * (row + length), 2), np.int16)
            larger[:row] = points[:row]
            points = larger
            _trace(labels, starts[i], stride, points, row)
        lengths[i] = length
        row += length
    return points[:row].copy(), lengths
