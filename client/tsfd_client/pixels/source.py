"""An open image file, before its pixels are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Source:
    """What a file says of its picture, and how to read it.

    Attributes
    ----------
    shape
        Height, width, channels.
    dtype
        Of the pixels.
    mpp
        Micrometres per pixel, None where the file does not say it.
    is_slide
        Whether it comes from a slide scanner, which knows the scale, and not from a camera or an
        editor.
    decode
        Reads the pixels, [H, W, C]. May raise anything on a damaged file.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    mpp: float | None
    is_slide: bool
    decode: Callable[[], np.ndarray]
