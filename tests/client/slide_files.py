"""What slides of tests are made of, and how they are broken."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile

from samples.synthetic import generate


def strip(fields: int, *, seed: int) -> np.ndarray:
    """Tissue of a tile's height: a field and its mirror image in turns, uint8 [256, 1500 n, 3]."""
    field = generate(256, 1500, nuclei=125, seed=seed).image
    return np.hstack([field[:, :: (-1) ** n] for n in range(fields)])


def smaller(image: np.ndarray, times: int) -> np.ndarray:
    """A level of a pyramid, as scanners round it: up."""
    size = tuple(-(-length // times) for length in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def write_tiff(
    path: Path,
    image: np.ndarray,
    *,
    mpp: float | None = 0.25,
    shrinks: tuple[int, ...] = (1, 2, 8),
    **options: object,
) -> None:
    """Write a tiled TIFF of several levels, without compression unless told."""
    scale = {"resolution": (1e4 / mpp,) * 2, "resolutionunit": "CENTIMETER"} if mpp else {}
    options = {"tile": (128, 128), "photometric": "rgb", "metadata": None} | options
    with tifffile.TiffWriter(path) as file:
        for times in shrinks:
            level = smaller(image, times)
            level = np.moveaxis(level, -1, 0) if "planarconfig" in options else level
            file.write(level, subfiletype=int(times > 1), **options, **scale)
            scale = {}


def drop_tile(path: Path, number: int) -> None:
    """Make a tile of the first level one that was never written."""
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = file.pages[0].tags[name]
            values = list(tag.value)
            values[number] = 0
            tag.overwrite(tuple(values))


def spoil_tile(path: Path, number: int) -> None:
    """Overwrite a tile of the first level, which is compressed, with nonsense."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        begin, length = page.dataoffsets[number], page.databytecounts[number]
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(b"\xff" * length)
