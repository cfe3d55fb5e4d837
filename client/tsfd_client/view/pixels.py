"""Tiles of a slide for a web map, one by one or all in one file, ``slide.pmtiles``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer

from tsfd_client.pixels.box import Box
from tsfd_client.pixels.slide import Slide
from tsfd_client.view.zooms import TILE, Zooms

_QUALITY: Final = 85  # of JPEG


def jpeg(pixels: np.ndarray) -> bytes:
    """Encode a picture, uint8 [h, w, 3], as JPEG."""
    picture = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])


def is_whole(path: Path) -> bool:
    """Whether a file is a JPEG from its beginning to its end."""
    content = path.read_bytes()
    return content.startswith(b"\xff\xd8") and content.endswith(b"\xff\xd9")


def tile(slide: Slide, zoom: int, x: int, y: int) -> np.ndarray | None:
    """Read a tile of the map, uint8 [512, 512, 3], white beyond the slide; None outside of it.

    Raises
    ------
    ImageError
        If the slide cannot be read.
    """
    zooms = Zooms(slide.width, slide.height, slide.mpp)
    if not 0 <= zoom <= zooms.full:
        return None
    side = zooms.side(zoom)
    if not (0 <= x * side < slide.width and 0 <= y * side < slide.height):
        return None
    box = Box(y * side, x * side, (y + 1) * side, (x + 1) * side)
    return slide.picture(box, side / TILE)


def write(slide: Slide, path: Path) -> None:
    """Write the tiles of all zooms, reading each pixel of level 0 once.

    Raises
    ------
    ImageError
        If the slide cannot be read.
    OSError
        If the file cannot be written.
    """
    zooms = Zooms(slide.width, slide.height, slide.mpp)
    with path.open("wb") as file:
        archive = Writer(file)

        def draw(zoom: int, x: int, y: int) -> np.ndarray | None:
            if zoom == zooms.full:
                pixels = tile(slide, zoom, x, y)
            else:
                pixels = _joined([draw(zoom + 1, 2 * x + dx, 2 * y + dy) for dy, dx in _CORNERS])
            if pixels is not None:
                archive.write_tile(zxy_to_tileid(zoom, x, y), jpeg(pixels))
            return pixels

        draw(0, 0, 0)
        header = {"tile_type": TileType.JPEG, "tile_compression": Compression.NONE}
        archive.finalize(header | zooms.bounds(), {})


_CORNERS: Final = ((0, 0), (0, 1), (1, 0), (1, 1))


def _joined(quarters: list[np.ndarray | None]) -> np.ndarray | None:
    if quarters[0] is None:
        return None
    white = np.full_like(quarters[0], 255)
    a, b, c, d = (white if quarter is None else quarter for quarter in quarters)
    whole = np.vstack([np.hstack([a, b]), np.hstack([c, d])])
    return cv2.resize(whole, (TILE, TILE), interpolation=cv2.INTER_AREA)
