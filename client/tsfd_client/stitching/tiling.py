"""Tiles of an image in memory, at the network's scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tsfd_client.contract import TILE
from tsfd_client.errors import ImageError
from tsfd_client.pixels.resample import Grid, check_mpp, resample
from tsfd_client.pixels.tissue import is_glass
from tsfd_client.stitching.blocks import Plan, make_plan
from tsfd_client.stitching.grid import pad


@dataclass(frozen=True)
class Tile:
    """A tile: its upper left corner in the resampled image, its pixels uint8 [256, 256, 3]."""

    y: int
    x: int
    image: np.ndarray


@dataclass(frozen=True)
class Tiling:
    """An image at the network's scale and the plan of its tiles.

    Attributes
    ----------
    image
        uint8 [H, W, 3] at the network's scale.
    mpp
        The network's scale, micrometres per pixel.
    shape, given_mpp
        Height, width and scale of the original image.
    scale
        Pixels of the original image per pixel of the network.
    plan
        The tiles, in blocks.
    tissue
        bool [h, w], the whole image at any scale: where to segment. None segments everything.
    """

    image: np.ndarray
    mpp: float
    shape: tuple[int, int]
    given_mpp: float
    scale: float
    plan: Plan
    tissue: np.ndarray | None = None

    def __iter__(self) -> Iterator[Tile]:
        """Yield the tiles to segment; with a tissue mask, tiles of bare glass are skipped."""
        for block in self.plan.blocks:
            for planned in block.tiles:
                tile = self.tile(planned.y, planned.x)
                if self.tissue is None or not is_glass(tile.image, self.mpp):
                    yield tile

    def tile(self, y: int, x: int) -> Tile:
        """Return the tile with this upper left corner, on the grid or off it."""
        return Tile(y, x, pad(self.image[y : y + TILE, x : x + TILE]))


def tiling(
    image: np.ndarray, mpp: float, target: float, tissue: np.ndarray | None = None
) -> Tiling:
    """Check an image, resample it to the network's scale and plan its tiles.

    Parameters
    ----------
    image
        uint8 [H, W, 3], RGB.
    mpp
        Micrometres per pixel of `image`.
    target
        Micrometres per pixel of the network.
    tissue
        bool [h, w], the whole image at any scale; None segments everything.

    Raises
    ------
    ImageError
        If the image or the scale cannot be used.
    """
    _check(image, mpp)
    shape = image.shape[0], image.shape[1]
    grid = Grid(*shape, mpp, target)
    tissue = None if tissue is None else np.asarray(tissue, bool)
    plan = make_plan(*grid.shape, tissue)
    return Tiling(resample(image, mpp, target), target, shape, mpp, grid.step, plan, tissue)


def _check(image: np.ndarray, mpp: float | None) -> None:
    if not isinstance(image, np.ndarray):
        raise ImageError(f"The image must be a numpy array, not {type(image).__name__}.")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        raise ImageError(
            f"The image is grey {image.shape}: an H&E image in RGB, [height, width, 3], is needed."
        )
    if image.ndim == 3 and image.shape[2] == 4:
        raise ImageError(
            f"The image has four channels {image.shape}: drop the alpha channel with "
            "image[..., :3]."
        )
    if image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"The image must be RGB, [height, width, 3], not {image.shape}.")
    if image.dtype != np.uint8:
        raise ImageError(f"The image must be uint8 with values 0 to 255, not {image.dtype}.")
    if image.size == 0:
        raise ImageError(f"The image is empty {image.shape}.")
    check_mpp(mpp)
