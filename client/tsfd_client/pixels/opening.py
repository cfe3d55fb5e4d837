"""Open any image file: a slide, or a picture as a slide of one level.

OpenSlide reads the formats of the scanners (SVS, NDPI, MRXS, SCN, ...) and DICOM, tifffile reads
plain and OME-TIFF, Pillow pictures. Label and macro images are never looked at.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tsfd_client.errors import ImageError
from tsfd_client.pixels.dicom import DicomSlide, find_slide, folder_of, may_be_dicom
from tsfd_client.pixels.image import load, reason_of
from tsfd_client.pixels.in_memory import InMemory
from tsfd_client.pixels.levels import LARGE, Levels
from tsfd_client.pixels.origin import Origin
from tsfd_client.pixels.pyramid import TiffPyramid, is_pyramid
from tsfd_client.pixels.resample import check_mpp
from tsfd_client.pixels.scale import refusal, remarks_on, settle
from tsfd_client.pixels.scanner import ScannerFile, is_scanner_file
from tsfd_client.pixels.slide import Slide
from tsfd_client.pixels.tiff import is_tiff
from tsfd_client.remote import cache
from tsfd_client.remote.address import Address, Place, place_of


def open_image(
    path: str | Place, mpp: float | None = None, otherwise: float | None = None
) -> Slide:
    """Open a slide, or a picture.

    Parameters
    ----------
    path
        The file; for DICOM, any of its files, their folder, or the DICOMDIR in that folder. Or an
        address on a store, from which it is fetched first.
    mpp
        Micrometres per pixel of level 0, if the file does not state it or is wrong about it.
    otherwise
        Scale assumed for a picture that states none; a slide that states none is refused.

    Raises
    ------
    ImageError
        If the file is missing, not an image or damaged. Without `mpp`, if it does not state its
        scale, or states one that cannot be right. If it is a slide and OpenSlide is not installed.
        If it cannot be fetched.
    OutputError
        If there is no room to fetch it to.
    """
    place = place_of(path)
    return (
        _open(place, mpp, otherwise) if isinstance(place, Path) else _fetch(place, mpp, otherwise)
    )


def _fetch(
    address: Address, mpp: float | None, otherwise: float | None, known: str | None = None
) -> Slide:
    """Open the slide of an address, of which the `known` version will do if it is here."""
    with ExitStack() as lease:
        lent = lease.enter_context(cache.chosen().lend(address, known))
        if may_be_dicom(lent.path):
            raise cache.in_parts(address)
        try:
            slide = _open(lent.path, mpp, otherwise)
        except ImageError as error:
            raise ImageError(str(error).replace(str(lent.path), str(address))) from error
        slide.comes_from(address, lent.version, lease.pop_all())
    return slide


def _open(path: Path, mpp: float | None, otherwise: float | None) -> Slide:
    if not path.exists():
        raise ImageError(f"There is no file {path}.")
    path = folder_of(path) or path
    if mpp is not None:
        check_mpp(mpp)
    is_picture = not path.is_dir() and not is_slide(path)
    levels = _open_picture(path, mpp) if is_picture else _open_slide(path)
    try:
        chosen = settle(path, levels.scale, mpp, is_slide=not is_picture)
        taken = otherwise if chosen is None else chosen
        if taken is None:
            raise refusal(path, "does not say its scale")
    except ImageError:
        levels.close()
        raise
    return Slide(
        path,
        levels,
        taken,
        is_picture=is_picture,
        scale_is_assumed=chosen is None,
        remarks=[*remarks_on(levels.scale, mpp), *levels.remarks],
    )


def open_image_of(result: Path) -> Slide:
    """Open the image that a result was made from.

    Parameters
    ----------
    result
        Folder of the result.

    Raises
    ------
    ImageError
        If the image is gone, cannot be read, or has been replaced by another one.
    """
    origin = Origin.read(result)
    if origin is None:
        raise ImageError("The result does not say where its image is: segment it again.")
    place = place_of(origin.path)
    if isinstance(place, Address):
        slide = _fetch(place, origin.mpp, None, origin.version)
    elif not place.exists():
        raise ImageError(f"The image has been moved or deleted: {place} does not exist.")
    else:
        slide = open_image(place, origin.mpp)
    if slide.fingerprint() != origin.fingerprint:
        slide.close()
        raise ImageError(f"{place} is not the image that was segmented.")
    return slide


def open_needed_image(result: Path) -> Slide:
    """As `open_image_of`, for what cannot be done without the image; the message names both."""
    try:
        return open_image_of(result)
    except ImageError as error:
        raise ImageError(
            f"{result} needs its image: put it back, or segment it again. {error}"
        ) from error


def is_slide(path: Path) -> bool:
    """Whether a file is a slide: a scanner's format, DICOM (or its folder), a TIFF of levels.

    False for pictures, whatever their size, and for what is damaged or missing.
    """
    if not path.exists():
        return False
    try:
        if path.is_dir():
            return bool(find_slide(path))
        return is_scanner_file(path) or is_pyramid(path)
    except ImageError:  # OpenSlide is missing, or the folder does not hold exactly one slide
        return path.is_file() and is_pyramid(path)


def _open_slide(path: Path) -> Levels:
    try:
        if path.is_dir():
            return DicomSlide(find_slide(path))
        return ScannerFile(path) if is_scanner_file(path) else _in_parts(TiffPyramid(path))
    except ImageError:
        raise
    except Exception as error:  # on damaged files the readers raise whatever they happen to
        raise ImageError(f"{path} cannot be read as a slide: {reason_of(error)}") from error


def _open_picture(path: Path, mpp: float | None) -> Levels:
    if is_tiff(path):
        try:
            levels = TiffPyramid(path)
        except Exception:  # `load` reports it below
            pass
        else:
            if np.prod(levels.shapes[0]) > LARGE:
                return _in_parts(levels)
            levels.close()
    picture = load(path, mpp)
    return InMemory(picture.pixels, picture.scale, path, picture.remarks)


def _in_parts(levels: TiffPyramid) -> TiffPyramid:
    try:
        levels.refuse_large_tiles()
    except ImageError:
        levels.close()
        raise
    return levels
