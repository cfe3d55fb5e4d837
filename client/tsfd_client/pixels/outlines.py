"""Outlines of a mask along the edges of its pixels: where they turn, ring by ring."""

from __future__ import annotations

import cv2
import numpy as np

# Of the pixels around a corner of the grid, as bits of a code.
_ABOVE_LEFT, _ABOVE_RIGHT, _BELOW_LEFT, _BELOW_RIGHT = 1, 2, 4, 8
_PLACES = {  # x and y, seen from the corner
    _ABOVE_LEFT: (-1, -1),
    _ABOVE_RIGHT: (1, -1),
    _BELOW_LEFT: (-1, 1),
    _BELOW_RIGHT: (1, 1),
}
_ALL = sum(_PLACES)
_FALLING, _RISING = _ABOVE_LEFT | _BELOW_RIGHT, _ABOVE_RIGHT | _BELOW_LEFT


def outlines(mask: np.ndarray, inset: float) -> list[list[np.ndarray]]:
    """Trace a mask; pixels that only touch at a corner are apart.

    Parameters
    ----------
    mask
        bool [h, w].
    inset
        How far within its pixels the outline runs, pixels.

    Returns
    -------
    list of list of float64 [n, 2]
        Of each piece its outer ring and its holes: x and y, in pixels from the mask's corner.
    """
    _, pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    corners, within, column_order = _corners(mask)
    rings: dict[int, list[np.ndarray]] = {}
    for ring in _rings(corners, column_order):
        x, y = corners[ring[0]]  # from the top, of those the leftmost
        is_outer = bool((within[ring[0]] > 0).all())
        piece = pieces[y, x] if is_outer else pieces[y - 1, x]
        rings.setdefault(piece, []).append(corners[ring] + inset * within[ring])
    return list(rings.values())


def _corners(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where outlines turn, row by row: one after the other, two lie on a level edge.

    Returns
    -------
    int64 [n, 2]
        Corners, x and y; those at which two pixels only touch come twice, first for the left one.
    int64 [n, 2]
        The direction to the inside, +1 or -1 in x and y.
    int64 [n]
        The corners column by column, in which two likewise lie on an upright edge.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    codes = (
        _ABOVE_LEFT * padded[:-1, :-1]
        + _ABOVE_RIGHT * padded[:-1, 1:]
        + _BELOW_LEFT * padded[1:, :-1]
        + _BELOW_RIGHT * padded[1:, 1:]
    )
    inwards = np.zeros((_ALL + 1, 2, 2), np.int64)  # by code, of the one or two corners there
    turns = np.zeros(_ALL + 1, np.int64)  # how many there are
    for pixel, place in _PLACES.items():
        inwards[pixel, 0] = place
        inwards[_ALL - pixel, 0] = [-each for each in place]
        turns[[pixel, _ALL - pixel]] = 1
    inwards[_FALLING] = _PLACES[_ABOVE_LEFT], _PLACES[_BELOW_RIGHT]
    inwards[_RISING] = _PLACES[_BELOW_LEFT], _PLACES[_ABOVE_RIGHT]
    turns[[_FALLING, _RISING]] = 2

    y, x = np.nonzero(turns[codes])
    code = codes[y, x]
    times = turns[code]
    second = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    within = inwards[np.repeat(code, times), second]
    corners = np.repeat(np.column_stack([x, y]), times, axis=0)
    # Of two at one place, the upper edge ends at the one whose inside is above.
    return corners, within, np.lexsort((within[:, 1], corners[:, 1], corners[:, 0]))


def _rings(corners: np.ndarray, column_order: np.ndarray) -> list[list[int]]:
    """Follow level and upright edges in turns; each ring begins with its first corner."""
    upright = np.empty(len(corners), np.int64)
    upright[column_order[::2]], upright[column_order[1::2]] = column_order[1::2], column_order[::2]
    across, rings = upright.tolist(), list[list[int]]()
    is_free = [True] * len(corners)
    for first in range(len(corners)):
        ring, corner = list[int](), first
        while is_free[corner]:
            other = corner ^ 1  # the other end of the level edge
            is_free[corner] = is_free[other] = False
            ring += [corner, other]
            corner = across[other]
        if ring:
            rings.append(ring)
    return rings
