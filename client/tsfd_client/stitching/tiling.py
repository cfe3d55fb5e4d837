"""Cut an image into overlapping tiles of the network's size and scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from tsfd_client.contract import TILE
from tsfd_client.errors import ImageError
from tsfd_client.pixels.resample import Grid, check_mpp, resample

OVERLAP = 32
"""Pixels that neighbouring tiles share: context for what lies at a border (8 micrometres at 40x);
nuclei of any size are joined. Twice as much costs a third more tiles and finds hardly more."""

STEP = TILE - OVERLAP
"""Pixels from one tile of the grid to the next; the last tile of an axis is nearer."""

SIDE = 16
"""Tiles of the grid along a block's side. What is joined, and asked for again, in one block knows
nothing of the others."""


@dataclass(frozen=True)
class Tile:
    """A tile: its upper left corner in the resampled image, its pixels uint8 [256, 256, 3]."""

    y: int
    x: int
    image: np.ndarray


@dataclass(frozen=True)
class Tiling:
    """An image at the network's scale and how it is cut.

    Attributes
    ----------
    image
        uint8 [H, W, 3] at the network's scale.
    mpp
        That scale, micrometres per pixel.
    scale
        Pixels of `image` per pixel of the original.
    ys, xs
        Upper and left edges of the tiles.
    tissue
        bool [h, w], the whole image at any scale: tiles elsewhere are left out. None for none.
    """

    image: np.ndarray
    mpp: float
    scale: float
    ys: tuple[int, ...]
    xs: tuple[int, ...]
    tissue: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Tile]:
        for y, x in self._places:
            yield self.tile(y, x)

    def tile(self, y: int, x: int) -> Tile:
        """The tile whose upper left corner is given, wherever it lies in the image."""
        return Tile(y, x, pad(self.image[y : y + TILE, x : x + TILE]))

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        height, width = self.image.shape[:2]
        wanted = touched(height, width, self.tissue)
        return [(self.ys[i], self.xs[j]) for i, j in np.argwhere(wanted)]


def tiling(
    image: np.ndarray, mpp: float, target: float, tissue: np.ndarray | None = None
) -> Tiling:
    """Check an image, resample it to the network's scale and lay out its tiles.

    Parameters
    ----------
    image
        uint8 [H, W, 3], RGB.
    mpp
        Micrometres per pixel of `image`.
    target
        Micrometres per pixel of the network.
    tissue
        bool [h, w], the whole image at any scale, or None for everywhere.

    Raises
    ------
    ImageError
        If the image or the scale cannot be used.
    """
    _check(image, mpp)
    grid = Grid(image.shape[0], image.shape[1], mpp, target)
    height, width = grid.shape
    pixels = resample(image, mpp, target)
    return Tiling(pixels, target, 1 / grid.step, starts(height), starts(width), tissue)


def _check(image: np.ndarray, mpp: float | None) -> None:
    if not isinstance(image, np.ndarray):
        raise ImageError(f"The image must be a numpy array, not {type(image).__name__}.")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise ImageError(
            f"The image is grey {image.shape}: an H&E image in RGB, [height, width, 3], is needed."
        )
    if image.ndim == 3 and image.shape[2] == 4:
        raise ImageError(
            f"The image has four channels {image.shape}: leave the alpha channel out, "
            "image[..., :3]."
        )
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"The image must be RGB, [height, width, 3], not {image.shape}.")
    if image.dtype != np.uint8:
        raise ImageError(f"The image must be uint8 with values 0 to 255, not {image.dtype}.")
    if image.size == 0:
        raise ImageError(f"The image is empty {image.shape}.")
    check_mpp(mpp)


def touched(height: int, width: int, tissue: np.ndarray | None) -> np.ndarray:
    """Which tiles of an image hold tissue.

    Parameters
    ----------
    height, width
        Of the image, pixels at the network's scale.
    tissue
        bool [h, w], the whole image at any scale, or None for everywhere.

    Returns
    -------
    bool [rows, columns]
    """
    ys, xs = starts(height), starts(width)
    if tissue is None:
        return np.ones((len(ys), len(xs)), bool)
    # Sums over rectangles, from the sums over all that lies above and left.
    sums = np.zeros((tissue.shape[0] + 1, tissue.shape[1] + 1), np.int64)
    sums[1:, 1:] = tissue.cumsum(axis=0).cumsum(axis=1)
    tops, bottoms = _cells(ys, height, tissue.shape[0])
    lefts, rights = _cells(xs, width, tissue.shape[1])
    held = sums[bottoms][:, rights] - sums[tops][:, rights] - sums[bottoms][:, lefts]
    holds: np.ndarray = held + sums[tops][:, lefts] > 0
    return holds


def _cells(edges: tuple[int, ...], length: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last cell (exclusive) that the tiles touch along one axis."""
    first = np.array(edges) * cells // length
    last = -(-np.minimum(np.array(edges) + TILE, length) * cells // length)
    return first, np.maximum(last, first + 1)


def starts(length: int) -> tuple[int, ...]:
    """Edges of the tiles along one axis; the last tile ends where the image ends."""
    last = max(0, length - TILE)
    return (*range(0, last, STEP), last)


def place(start: int) -> int:
    """Which tile of the grid, along one axis, starts there."""
    return -(-start // STEP)


def pad(pixels: np.ndarray) -> np.ndarray:
    """A tile of an image that is smaller: mirrored below and on the right, up to 256 pixels."""
    bottom, right = (TILE - length for length in pixels.shape[:2])
    if bottom == 0 and right == 0:
        return pixels
    return cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_REFLECT)
