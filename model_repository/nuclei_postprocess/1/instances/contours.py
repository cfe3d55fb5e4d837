"""Trace the outer borders of labels, pixel by pixel."""

import numpy as np

from instances.compile import kernel


@kernel
def _trace(labels, start, stride, points, row):
    """Follow one outer border clockwise; write (x, y) from ``points[row]`` on; return the length.

    If ``points`` is empty, only the length is computed.
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
        if points.shape[0] > 0:
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
def contour_lengths(labels, starts, stride):
    nothing = np.zeros((0, 2), np.int16)
    lengths = np.zeros(starts.size, np.int64)
    for i in range(starts.size):
        lengths[i] = _trace(labels, starts[i], stride, nothing, 0)
    return lengths


@kernel
def trace_contours(labels, starts, lengths, stride):
    points = np.empty((lengths.sum(), 2), np.int16)
    row = 0
    for i in range(starts.size):
        row += _trace(labels, starts[i], stride, points, row)
    return points
