"""Measure area, position, class and class probability of every nucleus."""

from typing import Final

import numpy as np

from instances.compile import kernel

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


@kernel
def drop_faint(class_probs, labels, areas, level):
    """Set the area of labels to 0 if their mean foreground (0..255) is below the level."""
    height, width = class_probs.shape[:2]
    sums = np.zeros(areas.size, np.int64)
    for y in range(height):
        p = (y + 1) * (width + 2)
        for x in range(width):
            p += 1
            if labels[p] > 0:
                sums[labels[p]] += 255 - class_probs[y, x, 0]
    for label in range(1, areas.size):
        if sums[label] < level * areas[label]:
            areas[label] = 0


@kernel
def measure(class_probs, labels, areas, min_area, count):
    """Return instance map, nuclei table (contour columns 0) and first pixels of the instances."""
    height, width, channels = class_probs.shape
    stride = width + 2
    instance_map = np.zeros((height, width), np.uint16)
    nuclei = np.zeros((count, 11), np.float32)
    starts = np.zeros(count, np.int64)
    ids = np.zeros(areas.size, np.int64)
    sums = np.zeros((count, channels), np.int64)  # summed class probabilities
    places = np.zeros((count, 2), np.int64)  # sums of x and y
    box = np.zeros((count, 4), np.int64)
    found = 0
    for y in range(height):
        p = (y + 1) * stride
        for x in range(width):
            p += 1
            label = labels[p]
            if label <= 0 or areas[label] < min_area:
                continue
            if ids[label] == 0:
                starts[found] = p
                box[found] = (x, y, x, y)
                found += 1
                ids[label] = found
            instance_map[y, x] = ids[label]
            i = ids[label] - 1
            for c in range(1, channels):
                sums[i, c] += class_probs[y, x, c]
            places[i, 0] += x
            places[i, 1] += y
            box[i, 0] = min(box[i, 0], x)
            box[i, 2] = max(box[i, 2], x)
            box[i, 3] = y

    for label in range(1, areas.size):
        i = ids[label] - 1
        if i < 0:
            continue
        nuclei[i, 0] = places[i, 0] / areas[label]
        nuclei[i, 1] = places[i, 1] / areas[label]
        nuclei[i, 2] = box[i, 0]
        nuclei[i, 3] = box[i, 1]
        nuclei[i, 4] = box[i, 2] + 1
        nuclei[i, 5] = box[i, 3] + 1
        nuclei[i, 6] = areas[label]
        chosen = 1 + np.argmax(sums[i, 1:])
        total = sums[i, 1:].sum()
        nuclei[i, 7] = chosen
        nuclei[i, 8] = sums[i, chosen] / total if total > 0 else 0.0
    return instance_map, nuclei, starts
