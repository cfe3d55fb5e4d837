"""Strokes and dots of pen whose place is known, drawn on a picture at any scale.

    covered = strokes((6.0, 5.0), 8.0, seed=1)          float32 [h, w], 0 to 1
    draw(picture, covered, INKS["blue"], opacity=0.7, mpp=8.0, seed=1)

Ink lies on the cover slip, out of focus: its edges are soft, and it is denser here than there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

INKS: Final = {
    "blue": ((40, 60, 165), (30, 70, 130), (60, 110, 190), (40, 45, 110)),
    "black": ((30, 30, 34), (45, 40, 50), (25, 28, 40)),
    "green": ((20, 120, 70), (0, 110, 110), (60, 150, 60)),
    "yellow and orange": ((240, 215, 60), (240, 150, 40), (225, 110, 30)),
    "red": ((205, 35, 50), (180, 25, 40), (220, 60, 70)),
    "violet": ((95, 45, 150), (120, 50, 140), (70, 35, 120)),
}
"""Shades of each colour, RGB, where the ink is opaque."""
WIDTHS_MM: Final = (0.2, 0.5, 1.0, 2.0)
SOFT_UM: Final = 16.0
"""Sigma of the edges."""

_GAP_MM = 0.5
_CLOUD_UM, _CLOUD = 100.0, 0.05  # sigma of denser places, and how much denser they are
_SHIFT = 4  # OpenCV draws in sixteenths of a pixel


def strokes(
    size_mm: tuple[float, float], mpp: float, *, seed: int, widths: Sequence[float] = WIDTHS_MM
) -> np.ndarray:
    """Wavy lines from edge to edge, one below the other, and a dot as wide as each below it.

    Parameters
    ----------
    size_mm
        Height and width.
    mpp
        Micrometres per pixel.
    widths
        Of the lines, mm.

    Returns
    -------
    float32 [h, w]
        How much of each pixel is covered, 0 to 1.
    """
    rng = np.random.default_rng(seed)
    pixels = 1000 / mpp  # of a millimetre
    height, width = (round(length * pixels) for length in size_mm)
    covered = np.zeros((height, width), np.uint8)
    top = _GAP_MM
    for thickness in widths:
        x = np.linspace(-0.5, size_mm[1] + 0.5, 100)
        y = top + thickness / 2 + 0.1 * np.sin(2.5 * x + rng.uniform(0, 2 * np.pi))
        line = np.rint(np.stack([x, y], axis=1) * pixels * 2**_SHIFT).astype(np.int32)
        cv2.polylines(covered, [line], False, 255, round(thickness * pixels), shift=_SHIFT)
        top += thickness + _GAP_MM
        if thickness < 1:
            centre = (rng.uniform(0.2, 0.8) * size_mm[1] * pixels, (top + thickness / 2) * pixels)
            at = [round(place * 2**_SHIFT) for place in centre]
            radius = round(thickness / 2 * pixels * 2**_SHIFT)
            cv2.circle(covered, at, radius, 255, -1, shift=_SHIFT)
            top += thickness + _GAP_MM
    return covered.astype(np.float32) / 255


def draw(
    picture: np.ndarray,
    covered: np.ndarray,
    ink: tuple[int, int, int],
    *,
    opacity: float,
    mpp: float,
    seed: int,
) -> np.ndarray:
    """Mix a picture with ink, which hides `opacity` of what lies under it.

    Parameters
    ----------
    picture
        uint8 [h, w, 3], RGB.
    covered
        float32 [h, w], as `strokes` returns it.
    mpp
        Of both, micrometres per pixel.

    Returns
    -------
    uint8 [h, w, 3]
    """
    noise = np.random.default_rng(seed).standard_normal(covered.shape, np.float32)
    clouds = cv2.GaussianBlur(noise, (0, 0), _CLOUD_UM / mpp)
    soft = cv2.GaussianBlur(covered, (0, 0), SOFT_UM / mpp)
    share = np.clip(opacity * soft * (1 + _CLOUD / clouds.std() * clouds), 0, 1)[..., None]
    mixed = picture * (1 - share) + np.array(ink, np.float32) * share
    return np.rint(mixed).astype(np.uint8)
