"""Outlines along pixel edges, and masks whose outline is a simple polygon.

A mask that is one 4-connected piece without holes has exactly one outline. It never crosses itself,
so it is a valid polygon, and it encloses exactly the pixels of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tsfd_client.pixels.box import Box
from tsfd_client.stitching.runs import Runs, runs_of


def make_solid(instance_map: np.ndarray, boxes: dict[int, Box]) -> dict[int, Box]:
    """Make every instance one 4-connected piece without holes, in place.

    Keeps the largest piece and fills its holes; a nucleus inside a hole becomes part of the nucleus
    around it.

    Parameters
    ----------
    instance_map
        int [H, W]; 0 is background.
    boxes
        By id: a box that contains all pixels of the instance. No instance is empty.

    Returns
    -------
    dict
        By id, in the same order: the smallest box of each instance that remains.
    """
    solid: dict[int, Box] = {}
    for number, box in boxes.items():
        part = box.crop(instance_map)
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(
            (part == number).astype(np.uint8), connectivity=4
        )
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        part[(pieces > 0) & (pieces != largest)] = 0
        x, y, width, height = (int(value) for value in stats[largest, : cv2.CC_STAT_AREA])
        solid[number] = Box(y, x, y + height, x + width).moved(box.top, box.left)

    # After the first loop each instance is one piece, which lies entirely inside a hole or outside.
    for number in boxes:
        if number not in solid:
            continue
        part = solid[number].crop(instance_map)
        hole = _holes(part == number)
        if hole.any():
            for inner in np.unique(part[hole]).tolist():
                solid.pop(inner, None)
            part[hole] = number
    return solid


def solid_piece(mask: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Return the largest 4-connected piece of a mask with its holes filled.

    Parameters
    ----------
    mask
        bool [h, w], not empty.

    Returns
    -------
    y, x
        Upper left corner of the piece's smallest box.
    piece
        bool [h, w], the size of that box.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    mask = mask[y : y + height, x : x + width]
    # Nearly all masks are solid already: one piece and the outside fill the whole frame.
    framed = _framed(mask)
    outside, *_ = cv2.floodFill(framed, None, (0, 0), 2)
    piece, *_ = cv2.floodFill(framed, None, (1 + int(mask[0].argmax()), 1), 2)
    if outside + piece == framed.size:
        return y, x, mask
    instance_map = mask.astype(np.uint8)
    box = make_solid(instance_map, {1: Box(0, 0, height, width)})[1]
    return y + box.top, x + box.left, box.crop(instance_map) > 0


def outline(mask: np.ndarray, x: int = 0, y: int = 0) -> np.ndarray:
    """Trace the outline of a mask along its pixels' edges.

    Parameters
    ----------
    mask
        bool [h, w]: one 4-connected piece without holes.
    x, y
        Upper left corner of the mask.

    Returns
    -------
    ndarray
        int32 [k, 2]; x, y of the corners. Open: the first corner is not repeated.
    """
    # At twice the size, each corner of a pixel is a pixel of its own. The border through these
    # visits all corners of the outline in turn, a concave one twice.
    doubled = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    (border,), _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = (border[:, 0] + 1) // 2
    before = corners[np.arange(len(corners)) - 1]
    corners = corners[(corners != before).any(axis=1)]
    moved: np.ndarray = corners + np.array((x, y), np.int32)
    return moved


def closed_outlines(masks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Trace the outlines of many masks, as `outline` does, and close them.

    Parameters
    ----------
    masks
        Each bool [h, w]: one 4-connected piece without holes, in its smallest box.

    Returns
    -------
    offsets
        int64 [n + 1]; the ring of mask i is ``points[offsets[i] : offsets[i + 1]]``.
    points
        int64 [m, 2]; x, y of the corners, from the upper left corner of the mask. The first corner
        of each ring is repeated at its end.
    """
    runs = runs_of(masks)
    plain = runs.plain()
    lengths, points = _walk_around(runs, plain)
    others = [outline(masks[i]) for i in np.flatnonzero(~plain).tolist()]
    rings = [np.concatenate([ring, ring[:1]]) for ring in others]
    lengths[~plain] = [len(ring) for ring in rings]
    offsets = np.concatenate([[0], lengths.cumsum()])
    is_plain = plain.repeat(lengths)
    whole = np.empty((offsets[-1], 2), np.int64)
    whole[is_plain] = points
    whole[~is_plain] = np.concatenate([np.empty((0, 2), np.int64), *rings])
    return offsets, whole


def _walk_around(runs: Runs, plain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rings of the plain masks: down the left ends of their rows, and up the right ends.

    Returns
    -------
    lengths
        int64 [n]; corners of each ring, 0 for the other masks.
    points
        int64 [m, 2]; x, y.
    """
    chosen = plain[runs.mask]
    row, begin, end = runs.row[chosen], runs.begin[chosen], runs.end[chosen]
    heights = np.where(plain, runs.sizes[:, 0], 0)
    # Every row has two ends; that at the top left comes again at last.
    ends = np.where(plain, 2 * heights + 1, 0)
    first = ends.cumsum() - ends
    down = first.repeat(heights) + row
    up = (first + 2 * heights - 1).repeat(heights) - row
    x, y = np.empty(ends.sum(), np.int64), np.empty(ends.sum(), np.int64)
    x[down], y[down] = begin, row
    x[up], y[up] = end, row + 1
    top = first[plain]
    x[top + 2 * heights[plain]], y[top + 2 * heights[plain]] = x[top], 0
    # Between two ends that are not in line there are two corners; at the first there is its own.
    before = np.concatenate([x[:1], x[:-1]])
    corners = np.stack([before, x], axis=1)
    turns = np.repeat(before != x, 2).reshape(-1, 2)
    turns[top] = False, True
    points = np.column_stack([corners[turns], y.repeat(2).reshape(-1, 2)[turns]])
    lengths = np.zeros(len(plain), np.int64)
    lengths[plain] = np.add.reduceat(turns.sum(axis=1), top) if len(top) else 0
    return lengths, points


def _holes(mask: np.ndarray) -> np.ndarray:
    """Pixels enclosed by the mask: no 4-connected path leads from them to the outside."""
    framed = _framed(mask)
    cv2.floodFill(framed, None, (0, 0), 1)
    return np.asarray(framed[1:-1, 1:-1] == 0)


def _framed(mask: np.ndarray) -> np.ndarray:
    pixels = mask.view(np.uint8)
    return np.asarray(cv2.copyMakeBorder(pixels, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0))
