"""Read whole images into memory, with their scale where they say it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import imagecodecs
import numpy as np
import psutil
import tifffile
from PIL import ExifTags, Image, ImageMode

from tsfd_client.errors import ImageError
from tsfd_client.pixels import orientation, scale, tiff
from tsfd_client.pixels.scale import Scale
from tsfd_client.pixels.source import Source

_CONVERTED = ("P", "CMYK", "YCbCr")
_BYTES = 10  # per pixel while an image is read: Pillow's copies among them
_OPENING = threading.Lock()

LARGE = 1 << 26
"""Pixels; of a picture with more no second copy is made, and of a TIFF only parts are read."""


@dataclass(frozen=True)
class Loaded:
    """A picture in memory.

    Attributes
    ----------
    pixels
        uint8 [H, W, 3].
    scale
        What the file says of it.
    remarks
        What to tell of it, in sentences.
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
    alpha channel is laid on white.

    Parameters
    ----------
    mpp
        Micrometres per pixel, where the file does not say it or says it wrong.

    Returns
    -------
    ndarray, float or None
        uint8 [H, W, 3], and micrometres per pixel: `mpp`, or what the file says. None for a picture
        (PNG, JPEG, plain TIFF) that does not say it, never for a slide.

    Warns
    -----
    UserWarning
        If `mpp` contradicts the file, or a camera has turned the picture by a tag alone.

    Raises
    ------
    ImageError
        If the file is missing, not an image, damaged, grey, not 8 bits deep, or too large for this
        machine's memory. Without `mpp`, if it is a slide that does not say its scale, or says one
        that cannot be right.
    """
    path = Path(path)
    picture = load(path, mpp)
    for remark in (*scale.remarks_on(picture.scale, mpp), *picture.remarks):
        warnings.warn(f"{path}: {remark}", stacklevel=2)
    return picture.pixels, picture.scale.mpp if mpp is None else mpp


def load(path: Path, mpp: float | None = None) -> Loaded:
    """The same with all that the file says of itself."""
    if not path.is_file():
        raise ImageError(f"There is no file {path}.")
    try:
        with _open(path) as source:
            _check(path, source)
            scale.settle(path, source.scale, mpp, is_slide=source.is_slide)
            pixels = source.decode()
            remarks = orientation.remarks_on(source.orientation())
    except ImageError:
        raise
    except Exception as error:  # on damaged files the decoders raise whatever they happen to
        raise ImageError(f"{path} cannot be read as an image: {reason_of(error)}") from error
    if pixels.shape[2] == 4:
        pixels = on_white(pixels)
    return Loaded(np.ascontiguousarray(pixels[..., :3]), source.scale, remarks)


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Lay RGBA pixels, uint8 [H, W, 4], on white; uint8 [H, W, 3]."""
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _check(path: Path, source: Source) -> None:
    """Refuse what cannot be used, before anything of its size is allocated."""
    height, width, channels = source.shape
    if source.dtype != np.uint8:
        raise ImageError(f"{path} has {source.dtype} pixels: convert it to 8 bits per channel.")
    if channels < 3:
        raise ImageError(f"{path} is grey: an H&E image in colour is needed.")
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
    if path.suffix.lower() in tiff.SUFFIXES:
        with tiff.open_tiff(path) as file:
            yield tiff.describe(file)
    else:
        with _open_picture(path) as picture:
            yield _describe(picture, path)


def _open_picture(path: Path) -> Image.Image:
    """Open a picture of any size: Pillow's limit knows nothing of this machine's memory."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _describe(picture: Image.Image, path: Path) -> Source:
    mode = picture.mode
    if mode in _CONVERTED:
        mode = "RGBA" if "transparency" in picture.info else "RGB"
    kind = ImageMode.getmode(mode)
    return Source(
        shape=(picture.height, picture.width, len(kind.bands)),
        dtype=np.dtype(kind.typestr),
        scale=scale.of_dots(*picture.info.get("dpi", (0, 0))),
        is_slide=False,
        decode=lambda: _decode(picture, mode, path),
        orientation=lambda: _orientation(picture),
    )


def _orientation(picture: Image.Image) -> int | None:
    try:
        return picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # on damaged tags Pillow raises whatever it happens to
        return None


def _decode(picture: Image.Image, mode: str, path: Path) -> np.ndarray:
    if picture.format == "JPEG" and mode == "RGB" and picture.width * picture.height > LARGE:
        # Pillow holds four bytes per pixel, and three more to give them away.
        return np.asarray(imagecodecs.jpeg8_decode(path.read_bytes()))
    return np.asarray(picture if picture.mode == mode else picture.convert(mode))


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, in one line: what a reader says, or that the data are damaged."""
    text = (str(error).splitlines() or [""])[0]
    if isinstance(error, (OSError, tifffile.TiffFileError)) and text:
        return text
    return f"its data are damaged ({type(error).__name__}{': ' if text else ''}{text})."
