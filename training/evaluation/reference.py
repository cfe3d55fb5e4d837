"""The post-processing of TSFD-Net's authors (doi 10.1016/j.neunet.2022.02.020).

Only for comparison with the served watershed; no server offers it.
"""

import cv2
import numpy as np
from instances import COLUMNS, Instances, Parameters
from instances.compile import kernel
from instances.labels import BACKGROUND, SHARED
from instances.measures import choose, measure, tally


def extract(
    class_probs: np.ndarray, boundary_prob: np.ndarray, parameters: Parameters
) -> Instances:
    """Find the nuclei of one image, without contours.

    Each class is thresholded, rid of small objects and closed (3x3). Every connected component of
    the united classes takes its majority class, and the thinned boundary is cut out. Each class is
    then eroded (3x3), labelled and dilated (3x3). If a dilated nucleus covers part of another and
    splits it, only the largest piece of the other is kept.

    Parameters
    ----------
    class_probs, boundary_prob
        As of `instances.extract`.
    parameters
        ``foreground_threshold`` applies to each class by itself, ``min_area`` to the objects of
        each class before they are split; ``min_confidence`` is not used.

    Returns
    -------
    Instances
        ``class`` is the class whose map held the nucleus.
    """
    labels, classes = _label(
        class_probs,
        boundary_prob,
        int(255 * parameters.foreground_threshold),
        int(255 * parameters.boundary_threshold),
        parameters.min_area,
    )
    spans = _spans(labels)
    tallies = tally(np.ascontiguousarray(class_probs), labels, spans, classes.size - 1)
    chosen = choose(tallies, 0.0, 1)
    count = int(np.count_nonzero(chosen))
    instance_map, nuclei, starts = measure(
        tallies, chosen, labels, spans, spans[:0], *boundary_prob.shape
    )
    own = classes[labels[starts]]
    inside = instance_map > 0
    ids, planes = instance_map[inside], class_probs[inside].T[1:]
    sums = np.array([np.bincount(ids, plane, count + 1)[1:] for plane in planes])  # [K, n]
    nuclei[:, COLUMNS.index("class")] = own
    nuclei[:, COLUMNS.index("class_prob")] = sums[own - 1, np.arange(count)] / np.maximum(
        sums.sum(axis=0), 1
    )
    return Instances(instance_map, nuclei, np.zeros((0, 2), np.int16))


def _label(
    class_probs: np.ndarray,
    boundary_prob: np.ndarray,
    foreground_level: int,
    boundary_level: int,
    min_area: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels int32 [(H + 2) * (W + 2)], as in `instances.labels`, and the class of each."""
    channels = class_probs.shape[2]
    square = np.ones((3, 3), np.uint8)
    class_map = np.zeros(boundary_prob.shape, np.uint8)
    for c in range(channels - 1, 0, -1):  # where closed classes overlap, the lowest id wins
        mask = _without_small((class_probs[..., c] > foreground_level).astype(np.uint8), min_area)
        class_map[cv2.morphologyEx(mask, cv2.MORPH_CLOSE, square) > 0] = c

    _, components = cv2.connectedComponents((class_map > 0).astype(np.uint8), connectivity=8)
    votes = np.bincount(
        components.ravel() * channels + class_map.ravel(),
        minlength=(components.max() + 1) * channels,
    ).reshape(-1, channels)
    class_map = votes.argmax(axis=1)[components].astype(np.uint8)
    class_map[components == 0] = 0
    class_map[_thin((boundary_prob > boundary_level).astype(np.uint8)) > 0] = 0

    labels = np.full((class_map.shape[0] + 2, class_map.shape[1] + 2), BACKGROUND, np.int32)
    inner = labels[1:-1, 1:-1]
    classes = [np.zeros(1, np.int64)]
    count = 0
    for c in range(1, channels):
        eroded = cv2.erode((class_map == c).astype(np.uint8), square)
        found, pieces = cv2.connectedComponents(eroded, connectivity=8)
        # float32 holds every label of an image this size exactly; dilate has no int32.
        dilated = cv2.dilate(pieces.astype(np.float32), square).astype(np.int32)
        inner[dilated > 0] = dilated[dilated > 0] + count
        count += found - 1
        classes.append(np.full(found - 1, c, np.int64))
    labels = labels.ravel()
    _keep_largest_pieces(labels, count, class_map.shape[1] + 2)
    return labels, np.concatenate(classes)


def _spans(labels: np.ndarray) -> np.ndarray:
    """Runs of labelled pixels, as in `instances.runs`."""
    edges = 1 + np.flatnonzero(np.diff(labels > 0))
    numbers = np.full(len(edges) // 2, SHARED)
    return np.column_stack([edges[::2], edges[1::2], numbers]).astype(np.int32)


def _without_small(mask: np.ndarray, min_area: int) -> np.ndarray:
    """Binary uint8 mask without the 4-connected objects of fewer than ``min_area`` pixels."""
    _, components, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_area
    keep[0] = False
    return keep[components].astype(np.uint8)


@kernel
def _keep_largest_pieces(labels, count, stride):
    """Reduce every label to its largest 4-connected piece, the first one if several are equal."""
    queue = np.empty(labels.size, np.int32)
    origins = [0]
    largest = np.zeros(count + 1, np.int64)
    piece = np.zeros(count + 1, np.int64)
    for p in range(stride, labels.size - stride):
        label = labels[p]
        if 0 < label <= count:
            size = _flood(labels, queue, p, count + len(origins), stride)
            if size > largest[label]:
                largest[label] = size
                piece[label] = count + len(origins)
            origins.append(label)
    for p in range(stride, labels.size - stride):
        if labels[p] > 0:
            label = origins[labels[p] - count]
            labels[p] = label if piece[label] == labels[p] else BACKGROUND


@kernel
def _flood(labels, queue, start, label, stride):
    """Give the 4-connected component of `start` a label; return its number of pixels."""
    component = labels[start]
    labels[start] = label
    queue[0] = start
    size, done = 1, 0
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
def _thin(mask):
    """Skeleton of a binary uint8 mask [H, W] (Zhang and Suen 1984, doi 10.1145/357994.358023)."""
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    doomed = np.zeros_like(padded)
    changed = True
    while changed:
        changed = False
        for step in range(2):
            doomed[:] = 0
            for y in range(1, height + 1):
                for x in range(1, width + 1):
                    if padded[y, x] and _removable(padded, y, x, step):
                        doomed[y, x] = 1
                        changed = True
            padded -= doomed
    return padded[1:-1, 1:-1]


@kernel
def _removable(padded, y, x, step):
    """Whether sub-iteration ``step`` of Zhang-Suen deletes the pixel."""
    north, east = padded[y - 1, x], padded[y, x + 1]
    south, west = padded[y + 1, x], padded[y, x - 1]
    ring = (
        north,
        padded[y - 1, x + 1],
        east,
        padded[y + 1, x + 1],
        south,
        padded[y + 1, x - 1],
        west,
        padded[y - 1, x - 1],
    )
    neighbours = 0
    transitions = 0
    for i in range(8):
        neighbours += ring[i]
        if ring[i] == 0 and ring[(i + 1) & 7] == 1:
            transitions += 1
    if not 2 <= neighbours <= 6 or transitions != 1:
        return False
    if step == 0:
        return north * east * south == 0 and east * south * west == 0
    return north * east * west == 0 and north * south * west == 0
