"""TIFF and the slides that are TIFF: which page is the picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tifffile

from tsfd_client.pixels import scale
from tsfd_client.pixels.source import Source

SUFFIXES = (".tif", ".tiff", ".svs", ".ndpi", ".scn", ".bif")
_SCANNERS = {"svs", "ndpi", "scn", "bif", "philips"}


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF; one whose OME-XML cannot be used is read without it."""
    file = tifffile.TiffFile(path)
    if file.is_ome:
        try:
            file.series  # noqa: B018
        except Exception:  # on damaged metadata tifffile raises whatever it happens to
            file.close()
            return tifffile.TiffFile(path, is_ome=False)
    return file


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
        scale=scale.of_tiff(file, series),
        is_slide=bool(_SCANNERS & file.flags) or len(series.levels) > 1,
        decode=decode,
        orientation=lambda: level.keyframe.tags.valueof("Orientation"),
    )


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
