"""What slides of tests are made of, and how they are broken."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile


def smaller(image: np.ndarray, times: int) -> np.ndarray:
    """A level of a pyramid, as scanners round it: up."""
    size = tuple(-(-length // times) for length in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def drop_tile(path: Path, number: int) -> None:
    """Make a tile of the first level one that was never written."""
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = file.pages[0].tags[name]
            values = list(tag.value)
            values[number] = 0
            tag.overwrite(tuple(values))
