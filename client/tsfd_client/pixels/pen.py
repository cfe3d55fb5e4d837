"""Where somebody has drawn on a slide, found on a thumbnail by the ink's colour.

H&E absorbs green light most: haematoxylin less than 0.9 times as much red as green, eosin hardly
any, and neither more blue than green. Ink that does otherwise (blue, green, black, yellow, orange)
is told by the direction of its optical density, even where it is translucent and over tissue. Red
ink has the colour of blood, and violet ink that of haematoxylin: they are told only where they are
darker than a section can be, and red also where it is smoother than blood.

Brown pigment absorbs red as well as blue, unlike yellow ink. Black pigment has the colour of black
ink, but lies in clusters that are thinner than a stroke or smaller than a dot.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from tsfd_client.pixels.tissue import MPP

_SIGMA_UM: Final = 16.0  # nuclei and their surroundings become one colour
_THINNEST_UM: Final = 136.0  # strokes have 200 and more, pigment less
_SMALLEST_UM2: Final = 60_000.0  # a dot of 0.28 mm
_MARGIN_UM: Final = 16.0  # ink lies on the cover slip, out of focus: its edges are soft
_FRINGE_UM: Final = 32.0  # beyond that margin: too faint for a colour, not to look stained
_SMOOTH_UM: Final = 56.0  # length in which ink is smooth
_SMOOTH: Final = 0.06  # relative deviation of green light; in blood more than 0.08
_GLASS_BRIGHTNESS, _GLASS_GREEN = 180, 20  # of 255: the darkest channel, what green may lack
_GLASS_SHARE: Final = 0.01  # of the thumbnail: with less, glass is unknown
_WHITE: Final = 245.0  # glass where it is unknown
_BAND: Final = 512  # rows at a time, whose optical density is in memory


def find_pen(thumbnail: np.ndarray, mpp: float = MPP) -> np.ndarray:
    """Ink on a thumbnail, over tissue and beside it, with its soft edges.

    Parameters
    ----------
    thumbnail
        uint8 [h, w, 3], RGB.
    mpp
        Of the thumbnail, micrometres per pixel.

    Returns
    -------
    bool [h, w]
    """
    glass = _glass(thumbnail)
    reach = round((3 * _SIGMA_UM + _SMOOTH_UM) / mpp)
    inked = np.zeros(thumbnail.shape[:2], np.uint8)
    for top in range(0, len(inked), _BAND):
        above = max(0, top - reach)
        band = _has_colour_of_ink(thumbnail[above : top + _BAND + reach], glass, mpp)
        inked[top : top + _BAND] = band[top - above :][:_BAND]
    thick = cv2.morphologyEx(inked, cv2.MORPH_OPEN, _disc(_THINNEST_UM / mpp))
    with_edges = cv2.dilate(thick, _disc(2 * _MARGIN_UM / mpp))
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(with_edges)
    large = stats[:, cv2.CC_STAT_AREA] * mpp**2 >= _SMALLEST_UM2
    large[0] = False  # what is not inked
    strokes: np.ndarray = large[pieces]
    return strokes


def wiped(thumbnail: np.ndarray, pen: np.ndarray, mpp: float = MPP) -> np.ndarray:
    """A thumbnail, uint8 [h, w, 3], with white where pen is, bool [h, w], and its faint fringe.

    The fringe lies on tissue, too, which `find_tissue` gives back by its own margin.
    """
    wide = cv2.dilate(pen.astype(np.uint8), _disc(2 * _FRINGE_UM / mpp))
    clean: np.ndarray = np.where(wide[..., None] > 0, np.uint8(255), thumbnail)
    return clean


def _has_colour_of_ink(pixels: np.ndarray, glass: np.ndarray, mpp: float) -> np.ndarray:
    smooth = cv2.GaussianBlur(pixels, (0, 0), _SIGMA_UM / mpp).astype(np.float32)
    red, green, blue = np.moveaxis(np.log((glass + 1) / (smooth + 1)), -1, 0)  # optical densities
    is_red = (red < 0.3 * green) & (blue > 0.72 * green) & (green > 0.35)
    found: np.ndarray = (
        (red > 0.9 * green + 0.03)  # blue, green, black
        | (red > 0.5 * green + 0.13 * blue + 0.2)  # the same over tissue
        | (blue > 0.6 * red + 0.8 * green + 0.08)  # yellow, orange
        | (is_red & ((green > 1.2) | _is_smooth(pixels, mpp)))
        | ((red > 0.45 * green) & (blue < 0.45 * green) & (green > 1.4))  # violet
    )
    return found


def _is_smooth(pixels: np.ndarray, mpp: float) -> np.ndarray:
    """Where green light hardly changes from pixel to pixel."""
    green = pixels[..., 1].astype(np.float32)
    size = (round(_SMOOTH_UM / mpp),) * 2
    mean = cv2.blur(green, size)
    variance = cv2.blur(green**2, size) - mean**2
    smooth: np.ndarray = variance < (_SMOOTH * mean) ** 2
    return smooth


def _glass(thumbnail: np.ndarray) -> np.ndarray:
    """Colour of the glass, float32 [3]: pale, but not pink as pale tissue is."""
    sample = thumbnail[::2, ::2].reshape(-1, 3)
    green_lacks = sample.max(axis=1) - sample[:, 1]
    glass = sample[(sample.min(axis=1) >= _GLASS_BRIGHTNESS) & (green_lacks <= _GLASS_GREEN)]
    if len(glass) < _GLASS_SHARE * len(sample):
        return np.full(3, _WHITE, np.float32)
    colour: np.ndarray = np.median(glass, axis=0).astype(np.float32)
    return colour


def _disc(diameter: float) -> np.ndarray:
    side = 2 * round(diameter / 2) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
