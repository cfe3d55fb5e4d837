"""Measure area, position, class and class probability of every nucleus."""

from typing import Final

import numpy as np

from instances.channels import add_channels
from instances.compile import kernel
from instances.labels import SHARED, alike

COLUMNS: Final = (
    "centroid_x",
    "centroid_y",
    "x_min",
    "y_min",
    "x_max",
    "y_max",
    "area",
    "class",
    "class_prob",
    "contour_start",
    "contour_length",
)
"""Columns of the nuclei table. Coordinates are in pixels, with pixel centres at integers; the box
is half-open; ``class`` is 1..K; ``contour_start`` is a row index into the contours."""

# Columns of the tallies of labels, before the sums of all channels: number of pixels, sums of their
# x and y, and their box.
AREA, _X, _Y, _X_MIN, _X_MAX, _Y_MIN, _Y_MAX, _SUMS = range(8)


@kernel
def tally(class_probs, labels, spans, count):
    """Add up the pixels of labels 1..n; int64 [n + 1, 7 + channels], columns as above."""
    width, channels = class_probs.shape[1:]
    values = class_probs.reshape(-1)
    tallies = np.zeros((count + 1, _SUMS + channels), np.int64)
    tallies[:, _X_MIN] = width
    for start, end, number in spans:
        while start < end:
            stop = end if number != SHARED else alike(labels, start, end)
            add(tallies[labels[start]], values, start, stop, width + 2)
            start = stop
    return tallies


@kernel
def add(row, values, start, end, stride):
    """Add a run to the tallies of its label; `values` are those of the channels, flat."""
    y, x = start // stride - 1, start % stride - 1
    area = end - start
    if row[AREA] == 0:
        row[_Y_MIN] = y
    row[AREA] += area
    row[_X] += (2 * x + area - 1) * area // 2
    row[_Y] += y * area
    row[_X_MIN] = min(row[_X_MIN], x)
    row[_X_MAX] = max(row[_X_MAX], x + area)
    row[_Y_MAX] = max(row[_Y_MAX], y + 1)
    sums = row[_SUMS:]
    first = (y * (stride - 2) + x) * len(sums)
    add_channels(sums, values, first, first + area * len(sums))


@kernel
def choose(tallies, faint, min_area):
    """Choose the labels that are nuclei, bool [n + 1]: neither small nor faint.

    Faint is what has a mean foreground (0..255) below that level.
    """
    chosen = np.zeros(len(tallies), np.bool_)
    for label in range(1, len(tallies)):
        area = tallies[label, AREA]
        chosen[label] = area >= min_area and (255 * area - tallies[label, _SUMS] >= faint * area)
    return chosen


@kernel
def measure(tallies, chosen, labels, spans, holes, height, width):
    """Return instance map, nuclei table (contour columns 0) and first pixels of the instances."""
    count = np.count_nonzero(chosen)
    instance_map = np.zeros((height, width), np.uint16)
    nuclei = np.zeros((count, 11), np.float32)
    first_pixels = np.zeros(count, np.int64)
    ids = np.zeros(len(tallies), np.uint16)
    found = 0
    for start, end, number in spans:
        y, x = start // (width + 2) - 1, start % (width + 2) - 1
        while start < end:
            stop = end if number != SHARED else alike(labels, start, end)
            label = labels[start]
            if chosen[label]:
                if ids[label] == 0:
                    first_pixels[found] = start
                    found += 1
                    ids[label] = found
                instance_map[y, x : x + stop - start] = ids[label]
            x += stop - start
            start = stop
    for start, end, label in holes:
        y, x = start // (width + 2) - 1, start % (width + 2) - 1
        instance_map[y, x : x + end - start] = ids[label]

    for label in range(1, len(tallies)):
        if not chosen[label]:
            continue
        row, area = nuclei[ids[label] - 1], tallies[label, AREA]
        row[0] = tallies[label, _X] / area
        row[1] = tallies[label, _Y] / area
        row[2] = tallies[label, _X_MIN]
        row[3] = tallies[label, _Y_MIN]
        row[4] = tallies[label, _X_MAX]
        row[5] = tallies[label, _Y_MAX]
        row[6] = area
        sums = tallies[label, _SUMS + 1 :]
        best, total = np.argmax(sums), sums.sum()
        row[7] = 1 + best
        row[8] = sums[best] / total if total > 0 else 0.0
    return instance_map, nuclei, first_pixels
