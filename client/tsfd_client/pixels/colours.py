"""Convert samples as files store them to RGB, for whole pictures and for parts of them."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

import numpy as np
import tifffile
from PIL import Image, ImageCms
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from tsfd_client.errors import ImageError

JPEG: Final = (COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG)
"""Compressions whose own data state how the colours are stored."""

Mix = Callable[[np.ndarray], np.ndarray]
"""Samples [h, w, samples] -> RGB, uint8 [h, w, 3]."""

_PART: Final = 1 << 22  # pixels converted at a time
_SOME: Final = np.array(list(itertools.product(range(0, 256, 51), repeat=3)), np.uint8)[None]
_JP2K_YCBCR: Final = COMPRESSION.APERIO_JP2000_YCBC  # YCbCr, whatever the page's tags say
_GREY: Final = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
_SIGNIFICANT: Final = re.compile(r'\bSignificantBits="(\d+)"')
_INK_SET: Final = 332  # TIFF's tag; 1 is CMYK
_REC601: Final = (0.299, 0.587, 0.114)
_FULL_RANGE: Final = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)


class Alpha(Enum):
    """How the alpha sample, which follows the colours, relates to them."""

    ASSOCIATED = EXTRASAMPLE.ASSOCALPHA  # the colours are multiplied by alpha
    UNASSOCIATED = EXTRASAMPLE.UNASSALPHA


@dataclass(frozen=True)
class Colours:
    """How the colours of a picture are stored.

    Attributes
    ----------
    mix
        Converts samples to RGB; they are first converted to 8 bits if `bits` is given.
    bits
        Bits per sample; None if samples are indices into a palette.
    alpha
        Kind of alpha in the fourth sample; None if there is no alpha.
    profile
        Transform from the picture's RGB to sRGB; None if it is assumed to be sRGB already.
    """

    mix: Mix
    bits: int | None = 8
    alpha: Alpha | None = None
    profile: ImageCms.ImageCmsTransform | None = None

    def to_rgb(self, samples: np.ndarray) -> np.ndarray:
        """Convert unsigned samples [h, w, samples] to RGB, uint8 [h, w, 3], laid on white."""
        if self == Colours(_as_stored) and samples.dtype == np.uint8:
            return samples[..., :3]
        rows = max(1, _PART // samples.shape[1])
        rgb = np.empty((*samples.shape[:2], 3), np.uint8)
        for top in range(0, len(samples), rows):
            rgb[top : top + rows] = self._convert(samples[top : top + rows])
        return rgb

    def _convert(self, samples: np.ndarray) -> np.ndarray:
        samples = samples if self.bits is None else _eight_bits(samples, self.bits)
        rgb = self.mix(samples)
        if self.alpha:
            rgb = on_white(rgb, samples[..., 3:4], self.alpha)
        return rgb if self.profile is None else _apply(self.profile, Image.fromarray(rgb))


def of_rgb(*, alpha: bool = False, profile: bytes | None = None) -> Colours:
    """Colours of a picture stored as RGB or RGBA, uint8."""
    known = Alpha.UNASSOCIATED if alpha else None
    return Colours(_as_stored, alpha=known, profile=_profile(profile, "RGB"))


def of_cmyk(profile: bytes | None = None) -> Colours:
    """Colours of CMYK, uint8, 0 for no ink: converted by the profile, or as Pillow does it."""
    return Colours(partial(_from_inks, _profile(profile, "CMYK")))


def of_tiff(name: object, page: tifffile.TiffPage, planes: int, profile: bytes | None) -> Colours:
    """Colours of a TIFF page whose parts tifffile decodes.

    Parameters
    ----------
    name
        Of the file, for messages.
    planes
        How many such pages make the picture: a page per colour, or 1.
    profile
        The picture's ICC profile; None to ignore it.

    Raises
    ------
    ImageError
        If the page is grey, in CIELAB or a similar space, in floats, or has five samples or more.
    """
    if page.dtype is None or page.dtype.kind not in "bu" or page.dtype.itemsize > 2:
        raise ImageError(f"{name} has {page.dtype} pixels: convert it to 8 bits per channel.")
    samples = max(planes, page.samplesperpixel)
    refuse_samples(name, samples)
    kind, bits = page.photometric, _bits(page)
    extra = page.extrasamples
    if kind in _GREY and samples >= 3:
        inverted = kind == PHOTOMETRIC.MINISWHITE
        return _colours(_inverted if inverted else _as_stored, bits, extra[2:], profile)
    if _is_decoded(page) or (kind == PHOTOMETRIC.RGB and page.compression != _JP2K_YCBCR):
        return _colours(_as_stored, bits, extra, profile)
    if page.planarconfig == PLANARCONFIG.SEPARATE and page.is_subsampled:
        raise ImageError(f"{name} has YCbCr planes of different sizes: convert it to RGB.")
    if kind == PHOTOMETRIC.YCBCR or page.compression == _JP2K_YCBCR:
        return _colours(_luma(page), bits, extra, profile)
    if kind == PHOTOMETRIC.PALETTE and page.colormap is not None:
        mix = partial(_look_up, _palette(page.colormap))
        return Colours(mix, None, profile=_profile(profile, "RGB"))
    if kind == PHOTOMETRIC.SEPARATED and samples == 4 and page.tags.valueof(_INK_SET, 1) == 1:
        return Colours(partial(_from_inks, _profile(profile, "CMYK")), bits)
    if kind in _GREY:
        raise ImageError(f"{name} is grey: an H&E image in colour is needed.")
    raise ImageError(f"{name} has its colours as {PHOTOMETRIC(kind).name}: convert it to RGB.")


def _bits(page: tifffile.TiffPage) -> int:
    """Bits of a sample that count: microscope cameras fill 12 of 16."""
    text = page.parent.ome_metadata or ""
    stated = {int(bits) for bits in _SIGNIFICANT.findall(text)}
    most = page.tags.valueof("MaxSampleValue")
    if most:
        stated.add(int(np.max(most)).bit_length())
    bits: int = page.bitspersample
    return min(stated) if bits == 16 and stated and min(stated) >= 8 else bits


def refuse_samples(name: object, samples: int) -> None:
    """Raise ImageError if pixels have more samples than RGB and alpha, or CMYK."""
    if samples > 4:
        raise ImageError(
            f"{name} has {samples} samples per pixel: save only its red, green and blue."
        )


def on_white(rgb: np.ndarray, alpha: np.ndarray, kind: Alpha = Alpha.UNASSOCIATED) -> np.ndarray:
    """Lay RGB, uint8 [h, w, 3], on white; `alpha`, uint8 [h, w, 1], is its opacity."""
    white = 255 - alpha.astype(np.uint16)
    if kind is Alpha.ASSOCIATED:
        return np.minimum(rgb + white, 255).astype(np.uint8)
    return ((rgb * (255 - white) + 255 * white + 127) // 255).astype(np.uint8)


def unpack(data: bytes, height: int, width: int, subsampling: tuple[int, int]) -> np.ndarray:
    """YCbCr whose chroma is stored once for several pixels, uint8 [height, width, 3].

    Parameters
    ----------
    data
        Uncompressed: for each group of pixels in turn, every Y, then Cb and Cr.
    subsampling
        Columns and rows of a group.
    """
    across, down = subsampling
    rows, columns = -(-height // down), -(-width // across)
    count = rows * columns * (across * down + 2)
    groups = np.frombuffer(data, np.uint8, count).reshape(rows, columns, -1)
    y = groups[..., :-2].reshape(rows, columns, down, across).swapaxes(1, 2)
    chroma = groups[..., -2:].repeat(down, 0).repeat(across, 1)
    whole = np.dstack([y.reshape(rows * down, columns * across), chroma])
    return whole[:height, :width]


def _is_decoded(page: tifffile.TiffPage) -> bool:
    """Whether decoding the page gives RGB, although its tags may say YCbCr."""
    if page.compression == COMPRESSION.APERIO_JP2000_RGB:
        return True
    is_jpeg = page.compression in JPEG and page.planarconfig == PLANARCONFIG.CONTIG
    return is_jpeg and page.photometric == PHOTOMETRIC.YCBCR


def _colours(mix: Mix, bits: int, extra: tuple[int, ...], profile: bytes | None) -> Colours:
    known = extra[0] if extra else None
    alpha = Alpha(known) if known in [kind.value for kind in Alpha] else None
    return Colours(mix, bits, alpha, _profile(profile, "RGB"))


def _eight_bits(samples: np.ndarray, bits: int) -> np.ndarray:
    if bits == 8:
        return samples
    most = (1 << bits) - 1
    return ((samples.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)


def _as_stored(samples: np.ndarray) -> np.ndarray:
    return samples[..., :3]


def _inverted(samples: np.ndarray) -> np.ndarray:
    return 255 - samples[..., :3]


def _look_up(palette: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    rgb: np.ndarray = palette[numbers[..., 0].astype(np.intp)]
    return rgb


def _palette(stored: np.ndarray) -> np.ndarray:
    """A TIFF's colour map, uint16 [3, n], as uint8 [n, 3]; some writers give it 8 bits."""
    return np.ascontiguousarray(_eight_bits(stored, 16 if stored.max() > 255 else 8).T, np.uint8)


def _from_inks(profile: ImageCms.ImageCmsTransform | None, samples: np.ndarray) -> np.ndarray:
    height, width = samples.shape[:2]
    inks = Image.frombytes("CMYK", (width, height), np.ascontiguousarray(samples[..., :4]))
    return np.asarray(inks.convert("RGB")) if profile is None else _apply(profile, inks)


def _luma(page: tifffile.TiffPage) -> Mix:
    """The conversion from YCbCr that a page's tags specify; without them, that of JPEG."""
    weights = _fractions(page.tags.valueof("YCbCrCoefficients")) or _REC601
    reference = _fractions(page.tags.valueof("ReferenceBlackWhite")) or _FULL_RANGE
    return partial(_from_ycbcr, weights, reference)


def _fractions(stored: tuple[int, ...] | None) -> tuple[float, ...] | None:
    """A TIFF's rational numbers as floats; None if there are none, or a divisor is 0."""
    if not stored or not all(stored[1::2]):
        return None
    return tuple(a / b for a, b in zip(stored[::2], stored[1::2], strict=True))


def _from_ycbcr(
    weights: tuple[float, ...], reference: tuple[float, ...], samples: np.ndarray
) -> np.ndarray:
    red, green, blue = weights
    black, white = (np.array(reference[first::2], np.float32) for first in (0, 1))
    codes = np.array([255, 127, 127], np.float32)
    y, cb, cr = np.moveaxis((samples[..., :3] - black) * (codes / (white - black)), -1, 0)
    r = y + (2 - 2 * red) * cr
    b = y + (2 - 2 * blue) * cb
    g = (y - red * r - blue * b) / green
    rgb: np.ndarray = (np.clip(np.stack([r, g, b], -1), 0, 255) + 0.5).astype(np.uint8)
    return rgb


def _profile(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Transform from an ICC profile to sRGB; None if it is damaged, not for `mode`, or sRGB."""
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        found = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, ImageCms.PyCMSError):
        return None
    if mode == "RGB":
        changed = _apply(found, Image.fromarray(_SOME)).astype(int) - _SOME
        return found if np.abs(changed).max() > 1 else None
    return found


def _apply(profile: ImageCms.ImageCmsTransform, picture: Image.Image) -> np.ndarray:
    return np.asarray(ImageCms.applyTransform(picture, profile))
