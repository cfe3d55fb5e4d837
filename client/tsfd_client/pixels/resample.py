"""Resample images to the network's scale, whole or in parts: a pixel is the same either way.

Pixel i of the target has its centre at (i + 0.5) * step - 0.5 of the source, whatever part of the
image is at hand: there is one grid for the whole slide. What is shrunk is smoothed first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from numbers import Real

import cv2
import numpy as np

from tsfd_client.errors import ImageError
from tsfd_client.pixels.box import Box

MPP_RANGE = (0.05, 2.0)
"""Micrometres per pixel that can be segmented."""

_SAME = 0.02  # scales that differ less are taken as they are
_PART = 4096  # pixels of the target at a time: OpenCV's maps hold 16 bits
_FRACTIONS = 32  # steps between two pixels in OpenCV's tables


def is_possible(mpp: float) -> bool:
    """Whether so many micrometres per pixel can be segmented."""
    low, high = MPP_RANGE
    return low <= mpp <= high  # false for NaN


def check_mpp(mpp: float | None) -> None:
    """Raise ImageError unless a scale is given that can be segmented."""
    if not isinstance(mpp, Real) or isinstance(mpp, bool) or not is_possible(float(mpp)):
        low, high = MPP_RANGE
        raise ImageError(
            f"mpp must be micrometres per pixel between {low} and {high}, not {mpp!r}: "
            "commonly 0.5 (a 20x scan) or 0.25 (40x)."
        )


@dataclass(frozen=True)
class Grid:
    """The pixels of an image of `height` x `width` at `mpp`, at another scale: `target`.

    Attributes
    ----------
    height, width
        Of the source, pixels.
    mpp
        Of the source, micrometres per pixel.
    target
        Micrometres per pixel that are wanted: the network's.
    """

    height: int
    width: int
    mpp: float
    target: float

    @cached_property
    def step(self) -> float:
        """Pixels of the source per pixel of the target."""
        same = math.isclose(self.mpp, self.target, rel_tol=_SAME)
        return 1.0 if same else self.target / self.mpp

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the target."""
        return max(1, round(self.height / self.step)), max(1, round(self.width / self.step))

    @cached_property
    def _sigma(self) -> float:
        return 0.5 * math.sqrt(self.step**2 - 1) if self.step > 1 else 0.0

    def source(self, box: Box) -> Box:
        """Part of the source that a part of the target is made of; both as boxes."""
        if self.step == 1:
            return box
        margin = 3 + math.ceil(4 * self._sigma)
        y0, x0, y1, x1 = (edge * self.step for edge in box)
        whole = Box(
            math.floor(y0) - margin,
            math.floor(x0) - margin,
            math.ceil(y1) + margin,
            math.ceil(x1) + margin,
        )
        return whole.intersection(Box(0, 0, self.height, self.width))

    def resample(self, pixels: np.ndarray, box: Box) -> np.ndarray:
        """A part of the target.

        Parameters
        ----------
        pixels
            uint8 [h, w, 3], the part of the source that `source` names.
        box
            Part of the target.

        Returns
        -------
        uint8 [y_max - y_min, x_max - x_min, 3]
        """
        if self.step == 1:
            return pixels
        if self._sigma:
            size = 2 * math.ceil(3 * self._sigma) + 1
            pixels = cv2.GaussianBlur(
                pixels, (size, size), self._sigma, borderType=cv2.BORDER_REPLICATE
            )
        y0, x0, y1, x1 = box
        top, left = self.source(box)[:2]
        rows, row_fractions = self._places(y0, y1, top)
        columns, column_fractions = self._places(x0, x1, left)
        whole = np.empty((len(rows), len(columns), 2), np.int16)
        whole[..., 0], whole[..., 1] = columns, rows[:, None]
        fraction = row_fractions[:, None] * np.uint16(_FRACTIONS) + column_fractions
        return cv2.remap(
            pixels,
            whole,
            fraction,
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def _places(self, first: int, end: int, origin: int) -> tuple[np.ndarray, np.ndarray]:
        """Whole pixels of the source from `origin` on, and fractions, for a row of the target."""
        centres = (np.arange(first, end) + 0.5) * self.step - 0.5
        fixed = np.round(centres * _FRACTIONS).astype(np.int64)
        whole, fraction = np.divmod(fixed, _FRACTIONS)
        return whole - origin, fraction.astype(np.uint16)


def resample(image: np.ndarray, mpp: float, target: float) -> np.ndarray:
    """A whole image at `mpp` as it is at `target`; uint8 [H, W, 3] in and out."""
    grid = Grid(image.shape[0], image.shape[1], mpp, target)
    if grid.step == 1:
        return image
    height, width = grid.shape
    result = np.empty((height, width, 3), np.uint8)
    for y0 in range(0, height, _PART):
        for x0 in range(0, width, _PART):
            box = Box(y0, x0, min(height, y0 + _PART), min(width, x0 + _PART))
            part = np.ascontiguousarray(grid.source(box).crop(image))
            box.crop(result)[:] = grid.resample(part, box)
    return result
