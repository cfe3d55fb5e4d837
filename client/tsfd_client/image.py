"""Read images, with their scale where they say it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tsfd_client.errors import ImageError

_TIFF = {".tif", ".tiff", ".svs", ".ndpi", ".scn"}
_MICROMETRES = {2: 25_400.0, 3: 10_000.0}  # TIFF's ResolutionUnit: inch, centimetre
_PLAUSIBLE = (0.05, 2.0)


def read_image(path: str | Path) -> tuple[np.ndarray, float | None]:
    """Read an RGB image.

    PNG, JPEG and the like, TIFF, and the full resolution of slides that are TIFF (SVS, NDPI). An
    alpha channel is laid on white.

    Returns
    -------
    ndarray, float or None
        uint8 [H, W, 3], and micrometres per pixel where the file says it.

    Raises
    ------
    ImageError
        If the file is missing, not an image, grey or not 8 bits deep.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"There is no file {path}.")
    try:
        if path.suffix.lower() in _TIFF:
            pixels, mpp = _read_tiff(path)
        else:
            pixels, mpp = _read_picture(path), None
    except (OSError, ValueError, tifffile.TiffFileError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"{path} cannot be read as an image: {reason}") from error
    if pixels.dtype != np.uint8:
        raise ImageError(f"{path} has {pixels.dtype} pixels: convert it to 8 bits per channel.")
    if pixels.ndim == 2 or pixels.shape[2] < 3:
        raise ImageError(f"{path} is grey: an H&E image in colour is needed.")
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.uint16)
        pixels = ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[..., :3]), mpp


def _read_picture(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            if picture.mode in ("P", "CMYK", "YCbCr"):
                picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
            return np.asarray(picture)


def _read_tiff(path: Path) -> tuple[np.ndarray, float | None]:
    with tifffile.TiffFile(path) as file:
        page = file.series[0].levels[0].pages[0]
        pixels = page.asarray()
        if page.axes.startswith("S"):
            pixels = np.moveaxis(pixels, 0, -1)
        return pixels, _tiff_mpp(page)


def _tiff_mpp(page: tifffile.TiffPage) -> float | None:
    aperio = re.search(r"\bMPP\s*=\s*([\d.]+)", page.description or "")
    if aperio:
        return float(aperio[1])
    unit = page.tags.valueof("ResolutionUnit")
    resolution = page.tags.valueof("XResolution")
    if unit not in _MICROMETRES or not resolution or not resolution[0]:
        return None
    mpp = _MICROMETRES[unit] * resolution[1] / resolution[0]
    # Editors write 72 dots per inch into pictures that never had a scale.
    return mpp if _PLAUSIBLE[0] <= mpp <= _PLAUSIBLE[1] else None
