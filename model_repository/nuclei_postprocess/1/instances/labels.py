"""Label arrays: the states of their pixels, and operations that all steps share.

Labels are flat int32 arrays of (H + 2) x (W + 2) pixels with a border of `FRAME`. The neighbours of
the pixel with index p are p - stride, p - 1, p + 1 and p + stride.
"""

from typing import Final

import numpy as np

from instances.compile import kernel

# States of a pixel; labels themselves are positive.
BACKGROUND: Final = 0
RIM: Final = -1  # foreground that no nucleus has claimed yet
INTERIOR: Final = -2  # foreground away from boundaries
FRAME: Final = -3  # border of one pixel, so that access to neighbours needs no bounds check
VISITED: Final = -4  # background already searched for holes


@kernel
def flood(labels, queue, start, label, stride):
    """Label the 4-connected component of ``start``; return its size n. queue[:n] is its pixels."""
    component = labels[start]
    labels[start] = label
    queue[0] = start
    size = 1
    done = 0
    while done < size:
        p = queue[done]
        done += 1
        for q in (p - stride, p - 1, p + 1, p + stride):
            if labels[q] == component:
                labels[q] = label
                queue[size] = q
                size += 1
    return size


@kernel
def areas_of(labels, size):
    """Count the pixels of each label, int64 [size]; index 0 stays 0."""
    areas = np.zeros(size, np.int64)
    for label in labels:
        if label > 0:
            areas[label] += 1
    return areas
