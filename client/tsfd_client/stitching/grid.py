"""The grid of tiles over an image at the network's scale."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from tsfd_client.contract import TILE

OVERLAP: Final = 32
"""Pixels that neighbouring tiles share (8 micrometres at 40x), as context at their borders. Nuclei
of any size are joined. Twice the overlap costs a third more tiles and finds hardly any more."""

STEP: Final = TILE - OVERLAP
"""Pixels from one tile of the grid to the next; the last step along an axis is shorter."""

SIDE: Final = 16
"""Tiles along one side of a block. Each block is stitched without knowledge of the others."""


def touched(height: int, width: int, tissue: np.ndarray | None) -> np.ndarray:
    """Find the tiles of an image that contain tissue.

    Parameters
    ----------
    height, width
        Size of the image, pixels at the network's scale.
    tissue
        bool [h, w], the whole image at any scale; None for tissue everywhere.

    Returns
    -------
    bool [rows, columns]
    """
    ys, xs = starts(height), starts(width)
    if tissue is None:
        return np.ones((len(ys), len(xs)), bool)
    # A summed-area table gives the sum over any rectangle.
    sums = np.zeros((tissue.shape[0] + 1, tissue.shape[1] + 1), np.int64)
    sums[1:, 1:] = tissue.cumsum(axis=0).cumsum(axis=1)
    tops, bottoms = _cells(ys, height, tissue.shape[0])
    lefts, rights = _cells(xs, width, tissue.shape[1])
    held = sums[bottoms][:, rights] - sums[tops][:, rights] - sums[bottoms][:, lefts]
    holds: np.ndarray = held + sums[tops][:, lefts] > 0
    return holds


def _cells(edges: tuple[int, ...], length: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last (exclusive) mask cell that each tile touches along one axis."""
    first = np.array(edges) * cells // length
    last = -(-np.minimum(np.array(edges) + TILE, length) * cells // length)
    return first, np.maximum(last, first + 1)


def starts(length: int) -> tuple[int, ...]:
    """Starts of the tiles along one axis; the last tile ends where the image ends."""
    last = max(0, length - TILE)
    return (*range(0, last, STEP), last)


def place(start: int) -> int:
    """Index, along one axis, of the grid's tile that starts at `start`."""
    return -(-start // STEP)


def pad(pixels: np.ndarray) -> np.ndarray:
    """Pad a tile to 256 x 256 pixels by mirroring it below and to the right."""
    bottom, right = (TILE - length for length in pixels.shape[:2])
    if bottom == 0 and right == 0:
        return pixels
    return cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_REFLECT)
