"""TIFF and the slides that are TIFF: which image is the picture."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tifffile
from tifffile import PHOTOMETRIC

from tsfd_client.errors import ImageError

_SIGNATURES: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SCANNERS = {"svs", "ndpi", "scn", "bif", "philips"}
_ASIDE: Final = re.compile(r"(^|.*[^a-z])(label|macro|thumbnail|overview)([^a-z]|$)", re.IGNORECASE)
_STACKS: Final = {"Z": "focal planes", "T": "time points", "C": "channels"}
_ONE: Final = "save the one that is meant in a file of its own"


@dataclass(frozen=True)
class Picture:
    """Which of the images in a TIFF is the picture.

    Attributes
    ----------
    series
        Of tifffile; its levels are those of the picture.
    is_slide
        Whether it comes from a slide scanner, which knows the scale, and not from a camera or an
        editor.
    is_raw
        Whether it is in a scanner's own format, which OpenSlide reads as it is, whatever its ICC
        profile.
    remarks
        What to tell of the choice, in sentences.
    """

    series: tifffile.TiffPageSeries
    is_slide: bool
    is_raw: bool
    remarks: list[str]


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF does."""
    with path.open("rb") as file:
        return file.read(4) in _SIGNATURES


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


def picture_in(file: tifffile.TiffFile, path: Path) -> Picture:
    """The picture in a TIFF: its largest image in colour; never a label, macro or thumbnail.

    Raises
    ------
    ImageError
        If it is one of a stack, of several images of its size, or spread over several files.
    OSError
        If the file ends before the picture does. Any other error where it is damaged.
    """
    series = [each for each in file.series if not _is_aside(each)] or file.series
    series = [each for each in series if _is_in_colour(each)] or series
    series = [each for each in series if not each.keyframe.is_reduced] or series
    number = max(range(len(series)), key=lambda n: _area(series[n]))
    chosen = series[number]
    page = chosen.keyframe
    size = f"{page.imagewidth} x {page.imagelength} pixels"
    refuse_cut_off(file, chosen.pages if is_in_planes(chosen) else [page])
    _refuse_stack(path, chosen)
    alike = sum(_area(each) == _area(chosen) for each in series)
    if alike > 1:
        raise ImageError(f"{path} holds {alike} images of {size}: {_ONE}.")
    if chosen.is_multifile:
        raise ImageError(f"{path} is spread over several files: save it as one.")
    several = f"The file holds {len(series)} images; the largest, number {number + 1} ({size}), "
    is_raw = bool(_SCANNERS & file.flags)
    return Picture(
        chosen,
        is_slide=is_raw or len(chosen.levels) > 1,
        is_raw=is_raw,
        remarks=[several + "is taken."] if len(series) > 1 else [],
    )


def is_in_planes(level: tifffile.TiffPageSeries) -> bool:
    """Whether red, green and blue have a page each, as some writers of OME-TIFF do it."""
    return level.axes == "CYX" and level.shape[0] in (3, 4)


def planes_in_stack(file: tifffile.TiffFile) -> int:
    """How many focal planes a scanner's TIFF has."""
    return max(each.sizes.get("depth", 1) for each in file.series)


def _is_aside(series: tifffile.TiffPageSeries) -> bool:
    """Whether an image is of the whole glass, its label or a thumbnail, by what it is called."""
    lines = (series.keyframe.description or "").splitlines()[:2]
    return bool(_ASIDE.search(series.name or "") or any(map(_ASIDE.match, lines)))


def _is_in_colour(series: tifffile.TiffPageSeries) -> bool:
    page = series.keyframe
    is_palette = page.photometric == PHOTOMETRIC.PALETTE
    return page.samplesperpixel >= 3 or is_palette or is_in_planes(series)


def _area(series: tifffile.TiffPageSeries) -> int:
    return series.keyframe.imagelength * series.keyframe.imagewidth


def _refuse_stack(path: Path, series: tifffile.TiffPageSeries) -> None:
    if is_in_planes(series):
        return
    for axis, count in zip(series.axes, series.shape, strict=True):
        if axis == "C" and count > 1 and "S" not in series.axes:
            raise ImageError(f"{path} has {count} channels: save its red, green and blue alone.")
        if axis not in "YXS" and count > 1:
            kind = _STACKS.get(axis, "images of one size")
            raise ImageError(f"{path} is a stack of {count} {kind}: {_ONE}.")


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
