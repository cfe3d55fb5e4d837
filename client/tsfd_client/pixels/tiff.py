"""TIFF and the slides that are TIFF: which page is the picture, and at which scale."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree

import numpy as np
import tifffile

from tsfd_client.pixels.resample import is_possible
from tsfd_client.pixels.source import Source

SUFFIXES = (".tif", ".tiff", ".svs", ".ndpi", ".scn", ".bif")
_SCANNERS = {"svs", "ndpi", "scn", "bif", "philips"}
_MICROMETRES_BY_TAG = {2: 25_400.0, 3: 10_000.0}  # TIFF's ResolutionUnit: inch, centimetre
_MICROMETRES_BY_NAME = {
    "nm": 1e-3,
    "µm": 1.0,  # micro sign
    "μm": 1.0,  # Greek mu
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "in": 25_400.0,
}


def describe(file: tifffile.TiffFile) -> Source:
    """The picture in a TIFF: of several its first, of a pyramid the full resolution.

    Raises
    ------
    OSError
        If the file ends before the picture does. Any other error where it is damaged.
    """
    series = file.series[0]
    level = series.levels[0]
    # Some writers of OME-TIFF give each of red, green and blue a page of its own.
    in_planes = level.axes == "CYX" and level.shape[0] in (3, 4)
    picture = level if in_planes else level.keyframe
    refuse_cut_off(file, level.pages if in_planes else [level.keyframe])
    if picture.dtype is None:
        raise OSError("it does not say what its pixels are.")
    shape = picture.shape if picture.ndim == 3 else (*picture.shape, 1)
    channels_first = picture.axes[0] in "SC"
    height, width, channels = (*shape[1:], shape[0]) if channels_first else shape

    def decode() -> np.ndarray:
        pixels = picture.asarray().reshape(shape)
        return np.moveaxis(pixels, 0, -1) if channels_first else pixels

    return Source(
        shape=(height, width, channels),
        dtype=picture.dtype,
        mpp=scale_of(file),
        is_slide=bool(_SCANNERS & file.flags) or len(series.levels) > 1,
        decode=decode,
    )


def scale_of(file: tifffile.TiffFile) -> float | None:
    """Micrometres per pixel of a TIFF's picture, as its OME-XML, its scanner or its tags say."""
    page = file.series[0].levels[0].keyframe
    return _ome_mpp(file) or _aperio_mpp(page) or _resolution_mpp(page)


def _ome_mpp(file: tifffile.TiffFile) -> float | None:
    if not file.ome_metadata:
        return None
    pixels = ElementTree.fromstring(file.ome_metadata).find(".//{*}Pixels")
    if pixels is None:
        return None
    size = float(pixels.get("PhysicalSizeX", 0))
    return size * _MICROMETRES_BY_NAME.get(pixels.get("PhysicalSizeXUnit", "µm"), 0) or None


def _aperio_mpp(page: tifffile.TiffPage) -> float | None:
    stated = re.search(r"\bMPP\s*=\s*(\d*\.?\d+)", page.description or "")
    return float(stated[1]) if stated else None


def _resolution_mpp(page: tifffile.TiffPage) -> float | None:
    unit = page.tags.valueof("ResolutionUnit")
    resolution = page.tags.valueof("XResolution")
    if unit not in _MICROMETRES_BY_TAG or not resolution or not resolution[0]:
        return None
    mpp = _MICROMETRES_BY_TAG[unit] * resolution[1] / resolution[0]
    # Editors write 72 dots per inch into pictures that never had a scale.
    return mpp if is_possible(mpp) else None


def refuse_cut_off(
    file: tifffile.TiffFile, pages: Iterable[tifffile.TiffPage | tifffile.TiffFrame | None]
) -> None:
    """Decoders fill what is missing with grey, and a picture without its end looks whole."""
    size = file.filehandle.size
    end = max(
        offset + count
        for page in pages
        if page
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    )
    if end > size:
        raise OSError(f"it is cut off, only {size:,} of {end:,} bytes are there.")
