"""Read whole images into memory, with their scale if they state it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import imagecodecs
import numpy as np
import psutil
import tifffile
from PIL import ExifTags, Image, UnidentifiedImageError

from tsfd_client.errors import ImageError
from tsfd_client.pixels import orientation, scale
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.colours import of_cmyk, of_rgb
from tsfd_client.pixels.levels import LARGE
from tsfd_client.pixels.pyramid import TiffPyramid
from tsfd_client.pixels.scale import Scale
from tsfd_client.pixels.source import Source
from tsfd_client.pixels.tiff import PAGES, is_tiff, refuse_stack

_BYTES = 10  # per pixel while an image is read: Pillow's copies among them
_CLEAR = ("RGBA", "RGBa", "PA")
_COLOURS = (*_CLEAR, "RGB", "RGBX", "P", "CMYK", "YCbCr", "HSV")
_GREY = "is grey: an H&E image in colour is needed."
_REFUSED = {
    "F": "has float32 pixels: convert it to 8 bits per channel.",
    "LAB": "has its colours as CIELAB: convert it to RGB.",
}
_LAYERED = ("MPO", "PSD")  # the first frame is the picture, the others belong to it
_OPENING = threading.Lock()


@dataclass(frozen=True)
class Loaded:
    """A picture in memory.

    Attributes
    ----------
    pixels
        uint8 [H, W, 3].
    scale
        What the file states about its scale.
    remarks
        Warnings about the picture, in sentences.
    """

    pixels: np.ndarray
    scale: Scale
    remarks: list[str]


@overload
def read_image(path: str | Path, *, mpp: float) -> tuple[np.ndarray, float]: ...


@overload
def read_image(
    path: str | Path, *, mpp: float | None = None
) -> tuple[np.ndarray, float | None]: ...


def read_image(path: str | Path, *, mpp: float | None = None) -> tuple[np.ndarray, float | None]:
    """Read an RGB image.

    PNG, JPEG and the like, TIFF, and the full resolution of slides that are TIFF (SVS, NDPI). An
    alpha channel is laid on white; colours with an ICC profile become sRGB.

    Parameters
    ----------
    mpp
        Micrometres per pixel, if the file does not state it or is wrong about it.

    Returns
    -------
    ndarray, float or None
        uint8 [H, W, 3], and micrometres per pixel: `mpp`, or what the file says. None for a picture
        (PNG, JPEG, plain TIFF) that does not say it, never for a slide.

    Warns
    -----
    UserWarning
        If `mpp` contradicts the file, a camera has turned the picture by a tag alone, or the file
        holds several images.

    Raises
    ------
    ImageError
        If the file is missing, not an image, damaged, grey, a stack, or too large for this
        machine's memory. Without `mpp`, if it is a slide that does not state its scale, or states
        one that cannot be right.
    """
    picture = load(Path(path), mpp)
    for remark in (*scale.remarks_on(picture.scale, mpp), *picture.remarks):
        warnings.warn(f"{path}: {remark}", stacklevel=2)
    return picture.pixels, picture.scale.mpp if mpp is None else mpp


def load(path: Path, mpp: float | None = None) -> Loaded:
    """As `read_image`, with everything that the file states about itself."""
    if not path.is_file():
        raise ImageError(f"There is no file {path}.")
    try:
        with _open(path) as source:
            _check(path, source)
            scale.settle(path, source.scale, mpp, is_slide=source.is_slide)
            pixels = np.ascontiguousarray(source.decode())
            return Loaded(pixels, source.scale, source.remarks())
    except ImageError:
        raise
    except Exception as error:  # on damaged files the decoders raise whatever they happen to
        raise ImageError(f"{path} cannot be read as an image: {reason_of(error)}") from error


def _check(path: Path, source: Source) -> None:
    """Refuse what cannot be used, before anything of its size is allocated."""
    height, width = source.shape
    needed = height * width * _BYTES
    free = psutil.virtual_memory().available
    if needed > free:
        raise ImageError(
            f"{path} has {width} x {height} pixels, too many for this machine's memory: "
            f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free. Cut out a region, "
            "or use a machine with more memory."
        )


@contextmanager
def _open(path: Path) -> Iterator[Source]:
    if is_tiff(path):
        with closing(TiffPyramid(path)) as levels:
            yield _describe_tiff(levels)
    else:
        with _open_picture(path) as picture:
            yield _describe(picture, path)


def _describe_tiff(levels: TiffPyramid) -> Source:
    shape = levels.shapes[0]
    return Source(
        shape=shape,
        scale=levels.scale,
        is_slide=levels.is_slide,
        decode=lambda: levels.read(0, Box(0, 0, *shape)),
        remarks=lambda: levels.remarks,
    )


def _open_picture(path: Path) -> Image.Image:
    """Open a picture of any size: Pillow's limit ignores this machine's memory."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _describe(picture: Image.Image, path: Path) -> Source:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format not in _LAYERED:
        refuse_stack(path, frames, PAGES)
    if picture.mode not in _COLOURS:
        raise ImageError(f"{path} {_REFUSED.get(picture.mode, _GREY)}")
    is_several = frames > 1 and picture.format == "MPO"
    several = [f"It holds {frames} images; the first is taken."] if is_several else []
    return Source(
        shape=(picture.height, picture.width),
        scale=scale.of_dots(*picture.info.get("dpi", (0, 0))),
        is_slide=False,
        decode=lambda: _decode(picture, path),
        remarks=lambda: [*several, *orientation.remarks_on(_orientation(picture))],
    )


def _orientation(picture: Image.Image) -> int | None:
    try:
        return picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # on damaged tags Pillow raises whatever it happens to
        return None


def _decode(picture: Image.Image, path: Path) -> np.ndarray:
    profile = picture.info.get("icc_profile")
    if picture.mode == "CMYK":
        return of_cmyk(profile).to_rgb(np.asarray(picture))
    is_clear = picture.mode in _CLEAR or "transparency" in picture.info
    colours = of_rgb(alpha=is_clear, profile=profile)
    if picture.format == "JPEG" and picture.width * picture.height > LARGE:
        # Pillow needs four bytes per pixel, and three more for the copy it returns.
        return colours.to_rgb(np.asarray(imagecodecs.jpeg8_decode(path.read_bytes())))
    mode = "RGBA" if is_clear else "RGB"
    return colours.to_rgb(np.asarray(picture if picture.mode == mode else picture.convert(mode)))


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, in one line: what a reader says, or that the data are damaged."""
    if isinstance(error, UnidentifiedImageError):
        return "its format is unknown."
    text = (str(error).splitlines() or [""])[0]
    if isinstance(error, (OSError, tifffile.TiffFileError)) and text:
        return text
    return f"its data are damaged ({type(error).__name__}{': ' if text else ''}{text})."
