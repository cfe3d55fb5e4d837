"""What slides of tests are made of, and how they are broken."""

from __future__ import annotations

from collections.abc import Callable
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


def write_scn(
    path: Path,
    image: np.ndarray,
    *,
    corner: tuple[int, int],
    nm: int,
    shrinks: tuple[int, ...],
    glass: tuple[int, int],
    planes: int = 1,
) -> None:
    """Write what a Leica scanner saw of the glass, from a corner (x, y) on; the macro comes first.

    Lengths are in pixels of `nm` nanometres. Of several focal planes all are alike.
    """
    black = np.zeros((64, 48, 3), np.uint8)
    levels = [smaller(image, times) for times in shrinks for _ in range(planes)]
    sizes = [level.shape[1::-1] for level in levels]
    images = _scn_image("macro", glass, (0, 0), [black.shape[1::-1]], 0, nm, 1)
    images += _scn_image("main", sizes[0], corner, sizes, 1, nm, planes)
    width, height = (length * nm for length in glass)
    text = '<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection '
    text += f'sizeX="{width}" sizeY="{height}">{images}</collection></scn>'
    options = {"photometric": "rgb", "metadata": None}
    scale = {"resolution": (1e7 / nm,) * 2, "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(black, tile=(64, 64), description=text, **options)
        for level in levels:
            file.write(level, tile=(128, 128), **scale, **options)


def _scn_image(
    name: str,
    size: tuple[int, int],
    corner: tuple[int, int],
    sizes: list[tuple[int, int]],
    first: int,
    nm: int,
    planes: int,
) -> str:
    """An image of a Leica slide, its pages from the `first` on."""
    pages = "".join(
        f'<dimension sizeX="{x}" sizeY="{y}" r="{n // planes}" z="{n % planes}" ifd="{first + n}"/>'
        for n, (x, y) in enumerate(sizes)
    )
    view = " ".join(
        f'{key}="{length * nm}"'
        for key, length in zip(
            ("sizeX", "sizeY", "offsetX", "offsetY"), (*size, *corner), strict=True
        )
    )
    return (
        f'<image name="{name}"><pixels sizeX="{sizes[0][0]}" sizeY="{sizes[0][1]}">{pages}</pixels>'
        f"<view {view}/><scanSettings><objectiveSettings><objective>40</objective>"
        "</objectiveSettings><illuminationSettings><illuminationSource>brightfield"
        "</illuminationSource></illuminationSettings></scanSettings></image>"
    )


def drop_tile(path: Path, number: int) -> None:
    """Make a tile of the first level one that was never written."""
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = file.pages[0].tags[name]
            values = list(tag.value)
            values[number] = 0
            tag.overwrite(tuple(values))


def append_tiles(
    path: Path, encode: Callable[[np.ndarray], bytes], tags: dict[str, tuple[int, ...]]
) -> None:
    """Store the tiles of all levels otherwise, at the end of the file, and say so by tags."""
    with tifffile.TiffFile(path) as file:
        tiles = [[encode(tile[0]) for tile, _, _ in page.segments()] for page in file.pages]
    end = path.stat().st_size
    with path.open("ab") as file:
        file.writelines(tile for page in tiles for tile in page)
    with tifffile.TiffFile(path, mode="r+") as file:
        for page, stored in zip(file.pages, tiles, strict=True):
            counts = [len(tile) for tile in stored]
            offsets = (end + np.cumsum([0, *counts[:-1]])).tolist()
            end += sum(counts)
            for name, value in {"TileOffsets": offsets, "TileByteCounts": counts, **tags}.items():
                page.tags[name].overwrite(tuple(value))


def spoil_tile(path: Path, number: int) -> None:
    """Overwrite a tile of the first level, which is compressed, with nonsense."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        begin, length = page.dataoffsets[number], page.databytecounts[number]
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(b"\xff" * length)
