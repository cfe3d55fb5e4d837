"""An open image file, before its pixels are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tsfd_client.pixels.scale import Scale


@dataclass(frozen=True)
class Source:
    """What a file says of its picture, and how to read it.

    Attributes
    ----------
    shape
        Height, width, channels.
    dtype
        Of the pixels.
    scale
        What the file says of it.
    is_slide
        Whether it comes from a slide scanner, which knows the scale, and not from a camera or an
        editor.
    decode
        Reads the pixels, [H, W, C]. May raise anything on a damaged file.
    orientation
        The tag by which viewers turn it, once the pixels are read; 1 or None where they need not.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    scale: Scale
    is_slide: bool
    decode: Callable[[], np.ndarray]
    orientation: Callable[[], int | None]
