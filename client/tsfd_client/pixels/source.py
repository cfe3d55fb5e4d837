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
        Height, width.
    scale
        What the file states about its scale.
    is_slide
        Whether it comes from a slide scanner, which knows the scale, and not from a camera or an
        editor.
    decode
        Reads the pixels, uint8 [H, W, 3]. May raise anything on a damaged file.
    remarks
        Returns warnings about the picture, in sentences, once the pixels are read.
    """

    shape: tuple[int, int]
    scale: Scale
    is_slide: bool
    decode: Callable[[], np.ndarray]
    remarks: Callable[[], list[str]]
