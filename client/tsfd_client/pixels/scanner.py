"""Slides in the formats of the scanners and in DICOM, read by OpenSlide.

Plain TIFF is left to `tsfd_client.pixels.pyramid`: OpenSlide can read it, but does not see the
levels of OME-TIFF.

Some scanners say which part of the glass they scanned (OpenSlide's bounds). That part is the slide:
its corner is where coordinates begin, as in QuPath, and what lies beyond is never read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from tsfd_client.errors import ImageError
from tsfd_client.pixels import scale, tiff
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.colours import on_white
from tsfd_client.pixels.levels import digest_of, paste

if TYPE_CHECKING:
    from openslide import OpenSlide

_SQUARE = 1024  # pixels
_PLAIN = "generic-tiff"
_DICOM = "dicom"
_PLANES_OF_DICOM = re.compile(r"TotalPixelMatrixFocalPlanes value (\d+)")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


class ScannerFile:
    """The levels of a slide that OpenSlide reads; see `Levels`."""

    def __init__(self, path: Path) -> None:
        planes = _focal_planes(path)
        self._file = _open(path)
        properties = self._file.properties
        self.scale = scale.of_openslide(properties)
        one = f"It has {planes} focal planes; the one that OpenSlide and QuPath show is taken."
        self.remarks = [one] if planes > 1 else []
        self._scanned = _scanned(self._file)
        self.shapes = _shapes(self._file, self._scanned)
        self.digest = properties.get("openslide.quickhash-1") or ""
        # Any file of a DICOM series names the slide; OpenSlide's hash is of the series.
        if properties["openslide.vendor"] == _DICOM:
            self.dicom_uids = {name: properties[f"{_DICOM}.{name}"] for name in _UIDS}
        else:
            self.dicom_uids = {}
            self.digest += digest_of(path)

    def read(self, level: int, box: Box) -> np.ndarray:
        """A part of a level, uint8 [h, w, 3]; white where nothing was scanned."""
        y0, x0, y1, x1 = box
        if level == 0:
            return self._region(level, box)
        # OpenSlide wants the corner of a part in pixels of level 0, and interpolates if it lies
        # between two pixels of the level. Reading squares of a fixed grid keeps pixels the same.
        pixels = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        for top in range(y0 // _SQUARE * _SQUARE, y1, _SQUARE):
            for left in range(x0 // _SQUARE * _SQUARE, x1, _SQUARE):
                square = self._region(level, Box(top, left, top + _SQUARE, left + _SQUARE))
                paste(square, top, left, pixels, box)
        return pixels

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _region(self, level: int, box: Box) -> np.ndarray:
        y0, x0, y1, x1 = box
        shrink = self._file.level_downsamples[level]
        corner = self._scanned.left + round(x0 * shrink), self._scanned.top + round(y0 * shrink)
        pixels = np.asarray(self._file.read_region(corner, level, (x1 - x0, y1 - y0)))
        if pixels[..., 3].min() == 255:
            return np.ascontiguousarray(pixels[..., :3])
        return on_white(pixels[..., :3], pixels[..., 3:])


def is_scanner_file(path: Path) -> bool:
    """Whether a file, of any content, is in a format of a scanner or in DICOM.

    Raises
    ------
    ImageError
        If OpenSlide is not installed.
    """
    require()
    from openslide import OpenSlide, OpenSlideError

    try:
        return OpenSlide.detect_format(path) not in (None, _PLAIN)
    except OpenSlideError:
        return False


def _scanned(file: OpenSlide) -> Box:
    """The part of level 0 that was scanned: all of it unless the scanner says otherwise."""
    width, height = file.dimensions
    whole = {"x": 0, "y": 0, "width": width, "height": height}
    x, y, width, height = (
        int(file.properties.get(f"openslide.bounds-{name}", most)) for name, most in whole.items()
    )
    return Box(y, x, y + height, x + width)


def _shapes(file: OpenSlide, scanned: Box) -> list[tuple[int, int]]:
    """Height and width of what was scanned, in every level."""
    width, height = file.dimensions
    if scanned == Box(0, 0, height, width):
        return [(height, width) for width, height in file.level_dimensions]
    height, width = scanned.bottom - scanned.top, scanned.right - scanned.left
    return [
        (max(1, round(height / shrink)), max(1, round(width / shrink)))
        for shrink in file.level_downsamples
    ]


def _open(path: Path) -> OpenSlide:
    from openslide import OpenSlide, OpenSlideError

    try:
        return OpenSlide(path)
    except OpenSlideError as error:
        planes = _PLANES_OF_DICOM.search(str(error))
        if planes is None:
            raise
        tiff.refuse_stack(path, int(planes[1]), "focal planes")


def require() -> None:
    """Raise ImageError unless OpenSlide is installed."""
    try:
        import openslide  # noqa: F401
    except (ImportError, OSError) as error:  # its package, or the library that it loads
        raise ImageError(
            "Slides are read by OpenSlide, which is missing: pip install 'tsfd-client[slides]'."
        ) from error


def _focal_planes(path: Path) -> int:
    """Number of focal planes of a TIFF, 1 for other files; raises OSError if the TIFF is cut off.

    OpenSlide does not report focal planes, and it notices a missing end only when it gets there,
    which may be hours later.
    """
    try:
        with tifffile.TiffFile(path) as file:
            tiff.refuse_cut_off(file, file.pages)
            return tiff.focal_planes(file)
    except OSError:
        raise
    except Exception:  # not a TIFF, or one that OpenSlide understands better
        return 1
