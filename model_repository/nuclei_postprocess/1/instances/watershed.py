"""Marker-controlled watershed on the boundary probability."""

import threading
from typing import Final

import numpy as np

from instances.compile import kernel
from instances.labels import BACKGROUND, FRAME, INTERIOR, RIM, VISITED, areas_of, flood

_MIN_SEED_AREA: Final = 6  # smaller interiors are gaps in a blurred boundary, not nuclei


def watershed(
    class_probs: np.ndarray, boundary_prob: np.ndarray, foreground_level: int, boundary_level: int
) -> tuple[np.ndarray, int]:
    """Label the nuclei of one image.

    Parameters
    ----------
    class_probs, boundary_prob
        uint8 [H, W, 1 + K] and [H, W].
    foreground_level, boundary_level
        A pixel is foreground, or boundary, if its probability times 255 exceeds the level.

    Returns
    -------
    int32 [(H + 2) * (W + 2)]
        Labels 1..n, 0 elsewhere, with a border of `FRAME`. The memory is reused by this thread's
        next call.
    int
        n.
    """
    scratch = _scratch.arrays((boundary_prob.shape[0] + 2) * (boundary_prob.shape[1] + 2))
    return _watershed(class_probs, boundary_prob, foreground_level, boundary_level, *scratch)


class _Scratch(threading.local):
    """Per-thread memory, reused because mapping it anew costs as much as the work itself.

    Memory for images of more than 2 megapixels is not kept.
    """

    _MOST_KEPT = 1 << 21

    def __init__(self) -> None:
        self._kept = self._allocate(0)

    def arrays(self, size: int) -> tuple[np.ndarray, ...]:
        """Return uninitialised labels, relief, queue, following and wave_of for `_watershed`."""
        if size > self._MOST_KEPT:
            return self._allocate(size)
        if size > self._kept[0].size:
            self._kept = self._allocate(size)
        return tuple(array[:size] for array in self._kept)

    @staticmethod
    def _allocate(size: int) -> tuple[np.ndarray, ...]:
        types = (np.int32, np.uint8, np.int32, np.int32, np.int32)
        return tuple(np.empty(size, dtype) for dtype in types)


_scratch = _Scratch()


@kernel
def _watershed(
    class_probs,
    boundary_prob,
    foreground_level,
    boundary_level,
    labels,
    relief,
    queue,
    following,
    wave_of,
):
    """Split the foreground: interiors become seeds, which grow along low boundary probability."""
    height, width = boundary_prob.shape
    stride = width + 2
    labels[:] = FRAME
    for y in range(height):
        p = (y + 1) * stride + 1
        for x in range(width):
            boundary = boundary_prob[y, x]
            relief[p] = boundary
            if 255 - class_probs[y, x, 0] <= foreground_level:
                labels[p] = BACKGROUND
            elif boundary <= boundary_level:
                labels[p] = INTERIOR
            else:
                labels[p] = RIM
            p += 1

    strengths = _seed(labels, relief, queue, stride)
    _grow(labels, relief, strengths, following, wave_of, stride)
    count = strengths.size - 1
    for p in range(stride, labels.size - stride):  # foreground that no seed has reached
        if labels[p] == RIM:
            count += 1
            flood(labels, queue, p, count, stride)
    _fill_holes(labels, queue, count, stride)
    return labels, count


@kernel
def _seed(labels, relief, queue, stride):
    """Label the interiors 1..n; return their strengths [n + 1], which decide where two meet."""
    strengths = [0]
    for p in range(stride, labels.size - stride):
        if labels[p] == INTERIOR:
            size = flood(labels, queue, p, len(strengths), stride)
            if size < _MIN_SEED_AREA:
                for i in range(size):
                    labels[queue[i]] = RIM
                continue
            strength = 0
            for i in range(size):
                strength += (256 - relief[queue[i]]) ** 2  # squared to make ties rarer
            strengths.append(strength)
    return np.array(strengths)


@kernel
def _grow(labels, relief, strengths, following, wave_of, stride):
    """Flood the rims from the seeds, lowest relief first, with one queue per level.

    Each pixel is queued once. A pixel that several seeds reach in the same wave goes to the
    strongest of them, so that the result does not depend on the order of visits.
    """
    first = np.full(256, -1, np.int32)
    last = np.full(256, -1, np.int32)
    wave = 1
    for p in range(stride, labels.size - stride):
        if labels[p] <= 0:
            continue
        wave_of[p] = wave
        if (
            labels[p - stride] == RIM
            or labels[p - 1] == RIM
            or labels[p + 1] == RIM
            or labels[p + stride] == RIM
        ):
            _append(p, 0, following, first, last)
    for level in range(256):
        current = 0
        p = first[level]
        while p >= 0:
            if wave_of[p] != current:
                current = wave_of[p]
                wave += 1
            label = labels[p]
            for q in (p - stride, p - 1, p + 1, p + stride):
                other = labels[q]
                if other == RIM:
                    labels[q] = label
                    wave_of[q] = wave
                    _append(q, max(level, relief[q]), following, first, last)
                elif other > 0 and wave_of[q] == wave and strengths[label] > strengths[other]:
                    labels[q] = label
            p = following[p]


@kernel
def _append(p, level, following, first, last):
    """Append a pixel to the queue of its level, a linked list."""
    following[p] = -1
    if first[level] < 0:
        first[level] = p
    else:
        following[last[level]] = p
    last[level] = p


@kernel
def _fill_holes(labels, queue, count, stride):
    """Fill background enclosed by a single instance, unless it is larger than the instance."""
    areas = areas_of(labels, count + 1)
    for start in range(stride, labels.size - stride):
        if labels[start] != BACKGROUND:
            continue
        size = flood(labels, queue, start, VISITED, stride)
        owner = 0
        for i in range(size):
            p = queue[i]
            for q in (p - stride, p - 1, p + 1, p + stride):
                other = labels[q]
                if other != VISITED and other != owner:
                    owner = other if owner == 0 else FRAME
            if owner == FRAME:
                break
        if owner > 0 and size <= areas[owner]:
            for i in range(size):
                labels[queue[i]] = owner
