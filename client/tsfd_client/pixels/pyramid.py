"""Plain TIFF and OME-TIFF, read by tifffile: only the tiles, or strips, that a part lies on."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG

from tsfd_client.errors import ImageError
from tsfd_client.pixels import orientation, scale, tiff
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.colours import JPEG, Colours, of_tiff, unpack
from tsfd_client.pixels.levels import LARGE, digest_of, paste

_FAINT: Final = 1 << 12  # of 16 bits: brighter is any stained tissue, and glass


@dataclass(frozen=True)
class _Plane:
    """Where a level's tiles are in the file: tiles that hold all colours, or only one."""

    offsets: Sequence[int]
    counts: Sequence[int]
    tables: bytes | None  # what JPEG tiles have in common
    first: int  # number of the first tile within its page


@dataclass(frozen=True)
class _Level:
    """A level; a strip is a tile as wide as the picture."""

    page: tifffile.TiffPage
    shape: tuple[int, int]
    tile: tuple[int, int]
    planes: list[_Plane]
    colours: Colours

    @property
    def is_grouped(self) -> bool:
        """Whether groups of pixels share their chroma in a way that is not JPEG's own."""
        page = self.page
        is_ycbcr = page.photometric == PHOTOMETRIC.YCBCR and page.compression not in JPEG
        return is_ycbcr and self.group != (1, 1)

    @property
    def group(self) -> tuple[int, int]:
        """Columns and rows that share their chroma in YCbCr."""
        return self.page.subsampling or (2, 2)


class TiffPyramid:
    """The levels of a TIFF; see `Levels`."""

    def __init__(self, path: Path) -> None:
        self._file = tiff.open_tiff(path)
        self._lock = threading.Lock()
        try:
            picture = tiff.picture_in(self._file, path)
            levels = picture.levels
            for level in levels:
                tiff.refuse_cut_off(self._file, level.pages)
            profile = None if picture.is_raw else levels[0].keyframe.iccprofile
            self._levels = [_lay_out(path, level, profile) for level in levels]
            self._refuse_dark(path)
            self.scale = scale.of_tiff(self._file, levels[0])
            self.is_slide = picture.is_slide
            tag = levels[0].keyframe.tags.valueof("Orientation")
            self.remarks = [*picture.remarks, *orientation.remarks_on(tag)]
            self.shapes = [level.shape for level in self._levels]
            self.digest = digest_of(path)
            self.dicom_uids: dict[str, str] = {}
        except BaseException:
            self._file.close()
            raise

    def read(self, level: int, box: Box) -> np.ndarray:
        """A part of a level, uint8 [h, w, 3]; white where there is no tile."""
        chosen = self._levels[level]
        y0, x0, y1, x1 = box
        rows, columns = chosen.tile
        across = math.ceil(chosen.shape[1] / columns)
        pixels = np.full((y1 - y0, x1 - x0, 3), 255, np.uint8)
        for row in range(y0 // rows, math.ceil(y1 / rows)):
            for column in range(x0 // columns, math.ceil(x1 / columns)):
                tile = self._decode(chosen, row * across + column)
                if tile is not None:
                    paste(tile, row * rows, column * columns, pixels, box)
        return pixels

    def refuse_large_tiles(self) -> None:
        """Raise ImageError if tiles are too large: those that a part touches are decoded whole."""
        for level in self._levels:
            rows, columns = map(min, level.tile, level.shape)
            if rows * columns > LARGE:
                raise ImageError(
                    f"{self._file.filehandle.path} is stored in pieces of {columns} x {rows} "
                    "pixels, too large to be read in parts: convert it to tiles, such as with "
                    "'vips tiffsave IN OUT --tile --pyramid --bigtiff', or export it from QuPath "
                    "as OME-TIFF."
                )

    def _refuse_dark(self, path: Path) -> None:
        """Raise ImageError if the middle of the picture uses few of its 16 bits."""
        level = self._levels[0]
        if level.colours.bits != 16:
            return
        down, across = (math.ceil(n / of) for n, of in zip(level.shape, level.tile, strict=True))
        samples = self._samples(level, level.planes[0], down // 2 * across + across // 2)
        if samples is not None and 0 < samples.max() < _FAINT:
            raise ImageError(
                f"{path} has 16 bits per sample, of which it seems to use 12 or fewer: convert it "
                "to 8 bits per channel."
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _decode(self, level: _Level, number: int) -> np.ndarray | None:
        """A tile, uint8 [h, w, 3]; None if it was never written."""
        stored = [self._samples(level, plane, number) for plane in level.planes]
        planes = [plane for plane in stored if plane is not None]
        if len(planes) < len(stored):
            return None
        return level.colours.to_rgb(np.dstack(planes) if len(planes) > 1 else planes[0])

    def _samples(self, level: _Level, plane: _Plane, number: int) -> np.ndarray | None:
        """Samples of a tile, unsigned [h, w, samples]; None if it was never written."""
        number += plane.first
        if plane.counts[number] == 0:
            return None
        with self._lock:
            self._file.filehandle.seek(plane.offsets[number])
            data = self._file.filehandle.read(plane.counts[number])
        if level.is_grouped:
            return _unpack(level, data, number)
        tile = level.page.decode(data, number, jpegtables=plane.tables)[0]
        return None if tile is None else tile[0]


def is_pyramid(path: Path) -> bool:
    """Whether a file, of any content, is a TIFF of several levels or from a scanner."""
    try:
        with tiff.open_tiff(path) as file:
            return tiff.picture_in(file, path).is_slide
    except Exception:  # on damaged files tifffile raises whatever it happens to
        return False


def _lay_out(path: Path, level: tifffile.TiffPageSeries, profile: bytes | None) -> _Level:
    page = level.keyframe
    shape = page.imagelength, page.imagewidth
    tile = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, shape[1])
    if tiff.is_in_planes(level):
        planes = [_plane(each, 0) for each in level.pages if each]
    elif page.planarconfig == PLANARCONFIG.SEPARATE:
        count = math.ceil(shape[0] / tile[0]) * math.ceil(shape[1] / tile[1])
        planes = [_plane(page, number * count) for number in range(page.samplesperpixel)]
    else:
        planes = [_plane(page, 0)]
    return _Level(page, shape, tile, planes, of_tiff(path, page, len(planes), profile))


def _plane(page: tifffile.TiffPage | tifffile.TiffFrame, first: int) -> _Plane:
    return _Plane(page.dataoffsets, page.databytecounts, page.jpegtables, first)


def _unpack(level: _Level, data: bytes, number: int) -> np.ndarray:
    """A tile of YCbCr whose chroma is stored once for several pixels, which tifffile refuses."""
    page = level.page
    rows, columns = level.tile
    if not page.is_tiled:
        rows = min(rows, level.shape[0] - number * rows)
    if page.compression != COMPRESSION.NONE:
        data = tifffile.TIFF.DECOMPRESSORS[page.compression](data)
    return unpack(data, rows, columns, level.group)
