"""A large slide made of one picture: tissue in the middle, glass around it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

CELL = 512
"""Pixels of a tile of the file; a tile is tissue or glass."""

_GLASS = (243, 242, 244)
_SHRINKS = (1, 4, 16)


def write_slide(path: Path, picture: np.ndarray, *, side: int, mm2: float) -> None:
    """Write a pyramidal TIFF in JPEG at 0.25 mpp, a tile at a time.

    Parameters
    ----------
    picture
        uint8 [H, W, 3], RGB, at 0.25 mpp; mirrored it fills the tissue, so that nothing is cut.
    side
        Pixels; rounded up to whole tiles.
    mm2
        Of tissue: a disc; 0 for glass alone.
    """
    cells = -(-side // CELL)
    texture = np.hstack([picture, picture[:, ::-1]])
    texture = np.vstack([texture, texture[::-1]])
    radius = math.sqrt(mm2 / math.pi) * 1000 / 0.25 / CELL
    centre = np.arange(cells) + 0.5 - cells / 2
    tissue = np.hypot(centre[:, None], centre) < radius
    scale = {"resolution": (1e4 / 0.25,) * 2, "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for shrink in _SHRINKS:
            length = cells * CELL // shrink
            file.write(
                _tiles(texture, tissue, shrink),
                shape=(length, length, 3),
                dtype=np.uint8,
                tile=(CELL, CELL),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 85},
                subfiletype=int(shrink > 1),
                metadata=None,
                **scale,
            )
            scale = {}


def _tiles(texture: np.ndarray, tissue: np.ndarray, shrink: int) -> Iterator[np.ndarray]:
    """The tiles of a level, row by row: each of `shrink` x `shrink` cells."""
    size = CELL // shrink
    for top in range(0, len(tissue), shrink):
        for left in range(0, len(tissue), shrink):
            tile = np.empty((CELL, CELL, 3), np.uint8)
            tile[:] = _GLASS
            for row, column in np.argwhere(tissue[top : top + shrink, left : left + shrink]):
                cell = _cell(texture, top + row, left + column)
                if shrink > 1:
                    cell = cv2.resize(cell, (size, size), interpolation=cv2.INTER_AREA)
                tile[row * size : (row + 1) * size, column * size : (column + 1) * size] = cell
            yield tile


def _cell(texture: np.ndarray, row: int, column: int) -> np.ndarray:
    ys = (row * CELL + np.arange(CELL)) % texture.shape[0]
    xs = (column * CELL + np.arange(CELL)) % texture.shape[1]
    return texture[ys[:, None], xs]
