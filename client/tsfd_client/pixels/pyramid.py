"""Slides in plain TIFF and OME-TIFF, read by tifffile: only the tiles that a part lies on."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG

from tsfd_client.errors import ImageError
from tsfd_client.pixels import orientation, scale, tiff
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.image import on_white
from tsfd_client.pixels.levels import digest_of, paste

_JPEG = (COMPRESSION.JPEG, COMPRESSION.OJPEG)


@dataclass(frozen=True)
class _Plane:
    """Where the tiles of a level lie in the file: those of all colours, or of one."""

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


class TiffPyramid:
    """The levels of a TIFF; see `Levels`."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = tiff.open_tiff(path)
        except tifffile.TiffFileError as error:
            raise ImageError(
                f"{path} is not a slide: formats of scanners (SVS, NDPI, MRXS, SCN, ...), DICOM "
                "and TIFF are read."
            ) from error
        self._lock = threading.Lock()
        try:
            levels = self._file.series[0].levels
            for level in levels:
                tiff.refuse_cut_off(self._file, level.pages)
                _check(path, level)
            self._levels = [_lay_out(level) for level in levels]
            self.scale = scale.of_tiff(self._file, self._file.series[0])
            tag = levels[0].keyframe.tags.valueof("Orientation")
            self.remarks = orientation.remarks_on(tag)
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
        channels = max(len(chosen.planes), chosen.page.samplesperpixel)
        pixels = np.full((y1 - y0, x1 - x0, channels), 255, np.uint8)
        for number, plane in enumerate(chosen.planes):
            colours = slice(number, number + 1) if len(chosen.planes) > 1 else slice(None)
            self._paste(pixels[..., colours], chosen, plane, box)
        return on_white(pixels) if channels == 4 else pixels

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _paste(self, pixels: np.ndarray, level: _Level, plane: _Plane, box: Box) -> None:
        y0, x0, y1, x1 = box
        rows, columns = level.tile
        across = math.ceil(level.shape[1] / columns)
        for row in range(y0 // rows, math.ceil(y1 / rows)):
            for column in range(x0 // columns, math.ceil(x1 / columns)):
                tile = self._decode(level, plane, row * across + column)
                if tile is not None:
                    paste(tile, row * rows, column * columns, pixels, box)

    def _decode(self, level: _Level, plane: _Plane, number: int) -> np.ndarray | None:
        """A tile, uint8 [h, w, colours]; None if it was never written."""
        number += plane.first
        if plane.counts[number] == 0:
            return None
        with self._lock:
            self._file.filehandle.seek(plane.offsets[number])
            data = self._file.filehandle.read(plane.counts[number])
        tile = level.page.decode(data, number, jpegtables=plane.tables)[0]
        return None if tile is None else tile[0]


def is_pyramid(path: Path) -> bool:
    """Whether a file, of any content, is a TIFF of several levels or from a scanner."""
    try:
        with tiff.open_tiff(path) as file:
            return tiff.describe(file).is_slide
    except Exception:  # on damaged files tifffile raises whatever it happens to
        return False


def _check(path: Path, level: tifffile.TiffPageSeries) -> None:
    page = level.keyframe
    if page.dtype != np.uint8:
        raise ImageError(f"{path} has {page.dtype} pixels: convert it to 8 bits per channel.")
    if _in_pages(level):
        return
    if page.samplesperpixel not in (3, 4):
        raise ImageError(f"{path} is grey: an H&E slide in colour is needed.")
    if page.photometric == PHOTOMETRIC.RGB:
        return
    # Of JPEG tiles the decoder makes RGB.
    if page.photometric != PHOTOMETRIC.YCBCR or page.compression not in _JPEG:
        colours = PHOTOMETRIC(page.photometric).name
        raise ImageError(f"{path} has its colours as {colours}: convert it to RGB.")


def _in_pages(level: tifffile.TiffPageSeries) -> bool:
    """Whether red, green and blue have a page each, as some writers of OME-TIFF do it."""
    return level.axes == "CYX" and level.shape[0] in (3, 4)


def _lay_out(level: tifffile.TiffPageSeries) -> _Level:
    page = level.keyframe
    shape = page.imagelength, page.imagewidth
    tile = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, shape[1])
    if _in_pages(level):
        planes = [_plane(each, 0) for each in level.pages if each]
    elif page.planarconfig == PLANARCONFIG.SEPARATE:
        count = math.ceil(shape[0] / tile[0]) * math.ceil(shape[1] / tile[1])
        planes = [_plane(page, number * count) for number in range(page.samplesperpixel)]
    else:
        planes = [_plane(page, 0)]
    return _Level(page, shape, tile, planes)


def _plane(page: tifffile.TiffPage | tifffile.TiffFrame, first: int) -> _Plane:
    return _Plane(page.dataoffsets, page.databytecounts, page.jpegtables, first)
