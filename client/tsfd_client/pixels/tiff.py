"""Which image of a TIFF, or of a slide stored as TIFF, is the picture."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn
from xml.etree import ElementTree

import tifffile
from tifffile import PHOTOMETRIC

from tsfd_client.errors import ImageError

Levels = list[tifffile.TiffPageSeries]

_SIGNATURES: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SCANNERS = {"svs", "ndpi", "scn", "bif", "philips"}
_ASIDES: Final = "(label|macro|thumbnail|overview)([^a-z]|$)"
_ASIDE: Final = re.compile(f"(^|[^a-z]){_ASIDES}", re.IGNORECASE)
_SAYS_ASIDE: Final = re.compile(rf"^\s*{_ASIDES}", re.IGNORECASE | re.MULTILINE)
_STACKS: Final = {"Z": "focal planes", "T": "time points", "C": "channels"}

PAGES: Final = "images of one size"
"""Kind of stack."""


@dataclass(frozen=True)
class Picture:
    """Which of the images in a TIFF is the picture.

    Attributes
    ----------
    levels
        Of tifffile, the largest first.
    is_slide
        Whether it comes from a slide scanner, which knows the scale, and not from a camera or an
        editor.
    is_raw
        Whether it is in a scanner's own format, which OpenSlide reads as it is, whatever its ICC
        profile.
    remarks
        Warnings about the choice, in sentences.
    """

    levels: Levels
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
        If it is part of a stack, one of several images of its size, or split over several files.
    OSError
        If the file ends before the picture does. A damaged file may raise any other error, too.
    """
    images = list(filter(None, map(_without_asides, file.series)))
    images = images or [each.levels for each in file.series]
    images = [each for each in images if _is_in_colour(each[0])] or images
    images = [each for each in images if not each[0].keyframe.is_reduced] or images
    number = max(range(len(images)), key=lambda n: _area(images[n][0]))
    levels = images[number]
    refuse_cut_off(file, levels[0].pages if is_in_planes(levels[0]) else [levels[0].keyframe])
    _refuse_stack(path, levels[0])
    alike = sum(_area(each[0]) == _area(levels[0]) for each in images)
    if alike > 1:
        refuse_stack(path, alike, PAGES)
    if levels[0].is_multifile:
        raise ImageError(f"{path} is spread over several files: save it as one.")
    page = levels[0].keyframe
    several = f"It holds {len(images)} images; the largest, number {number + 1} "
    several += f"({page.imagewidth} x {page.imagelength} pixels), is taken."
    is_raw = bool(_SCANNERS & file.flags)
    return Picture(
        levels,
        is_slide=is_raw or len(levels) > 1,
        is_raw=is_raw,
        remarks=[several] if len(images) > 1 else [],
    )


def is_in_planes(level: tifffile.TiffPageSeries) -> bool:
    """Whether red, green and blue have a page each, as some writers of OME-TIFF do it."""
    return level.axes == "CYX" and level.shape[0] in (3, 4)


def focal_planes(file: tifffile.TiffFile) -> int:
    """Number of focal planes in a scanner's TIFF."""
    series = max(file.series, key=_area)
    return dict(zip(series.axes, series.shape, strict=True)).get("Z", 1)


def refuse_stack(path: Path, count: int, kind: str) -> NoReturn:
    """Raise ImageError for a stack of `count` images."""
    raise ImageError(
        f"{path} is a stack of {count} {kind}: save the one to segment in a file of its own."
    )


def _without_asides(series: tifffile.TiffPageSeries) -> Levels:
    """An image's levels; none if it is called a label, macro or thumbnail."""
    if _ASIDE.search(series.name or ""):
        return []
    # tifffile treats any image of half the size as a level.
    return [each for each in series.levels if not _SAYS_ASIDE.search(each.keyframe.description)]


def _is_in_colour(series: tifffile.TiffPageSeries) -> bool:
    page = series.keyframe
    is_palette = page.photometric == PHOTOMETRIC.PALETTE
    return page.samplesperpixel >= 3 or is_palette or is_in_planes(series)


def _area(series: tifffile.TiffPageSeries) -> int:
    return series.keyframe.imagelength * series.keyframe.imagewidth


def _refuse_stack(path: Path, series: tifffile.TiffPageSeries) -> None:
    if is_in_planes(series):
        _refuse_other_channels(path, series)
        return
    for axis, count in zip(series.axes, series.shape, strict=True):
        if axis == "C" and count > 1 and "S" not in series.axes:
            raise ImageError(f"{path} has {count} channels: save only its red, green and blue.")
        if axis not in "YXS" and count > 1:
            refuse_stack(path, count, _STACKS.get(axis, PAGES))


def _refuse_other_channels(path: Path, series: tifffile.TiffPageSeries) -> None:
    """Raise ImageError if OME-XML calls the first three channels other than red, green, blue."""
    text = series.keyframe.parent.ome_metadata
    for image in ElementTree.fromstring(text).iterfind("{*}Image") if text else ():
        found = [channel.get("Name", "") for channel in image.iterfind("{*}Pixels/{*}Channel")]
        names = [name.strip().lower() for name in found[:3]]
        is_it = image.get("Name", "") == series.name and len(names) == 3 and all(names)
        if is_it and [name[0] for name in names] != ["r", "g", "b"]:
            raise ImageError(
                f"{path} has the channels {', '.join(found)}: save it as RGB, red first."
            )


def refuse_cut_off(
    file: tifffile.TiffFile, pages: Iterable[tifffile.TiffPage | tifffile.TiffFrame | None]
) -> None:
    """Raise OSError if the file ends before its pages: decoders would fill the rest with grey."""
    size = file.filehandle.size
    end = max(
        offset + count
        for page in pages
        if page
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    )
    if end > size:
        raise OSError(f"it is cut off, only {size:,} of {end:,} bytes are there.")
