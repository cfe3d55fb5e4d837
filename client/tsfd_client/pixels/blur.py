"""Where the tissue of a slide is out of focus.

Blur takes the finest detail first. So the detail of 2 micrometres is compared with that of 4, which
stains and contrasts change alike: sharp tissue has more of the former.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import cv2
import numpy as np

from tsfd_client.errors import ImageError
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.slide import Slide

_MPP: Final = 2.0  # micrometres per pixel at which detail is compared
_LEAST: Final = 0.9  # detail of a pixel by that of two: in sharp tissue 1.04 and more
_FAINTEST: Final = 1.5  # grey levels: less detail of four pixels says nothing
_AROUND_UM: Final = 16.0  # sigma of the neighbourhood that is judged
_COARSER: Final = 4  # pixels of `_MPP` in a row of one that is judged
_SIDE: Final = 1024  # pixels that are read at a time
_MARGIN: Final = 48  # pixels around them that have a say
_SMALLEST_UM: Final = 80.0  # thinner gaps, which have no detail at all, and islands do not count


def find_blur(slide: Slide, tissue: np.ndarray) -> np.ndarray:
    """Tissue that is out of focus by some 2 micrometres or more.

    Where the slide cannot be read, none is found, and its remarks say so.

    Parameters
    ----------
    tissue
        bool [h, w], the whole slide.

    Returns
    -------
    bool [h, w]
    """
    rows, columns = tissue.shape
    blurred = np.zeros(tissue.shape, np.uint8)
    shrink = max(1.0, _MPP / slide.mpp)
    step_y, step_x = (  # of the mask
        max(1, int(_SIDE * shrink * cells / length))
        for cells, length in ((rows, slide.height), (columns, slide.width))
    )
    for top in range(0, rows, step_y):
        for left in range(0, columns, step_x):
            part = np.s_[top : top + step_y, left : left + step_x]
            if tissue[part].any():
                cells = Box(top, left, min(rows, top + step_y), min(columns, left + step_x))
                try:
                    blurred[part] = _blurred(slide, cells, tissue.shape, shrink)
                except ImageError as error:  # the full resolution may be whole
                    slide.remarks.append(f"Blur was not searched for everywhere: {error}")
    size = round(_SMALLEST_UM / (slide.height * slide.mpp / rows))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    whole = cv2.morphologyEx(blurred, cv2.MORPH_CLOSE, disc)
    found: np.ndarray = (cv2.morphologyEx(whole, cv2.MORPH_OPEN, disc) > 0) & tissue
    return found


def _blurred(slide: Slide, cells: Box, shape: tuple[int, int], shrink: float) -> np.ndarray:
    """Which cells of a mask of the slide are blurred, bool of the size of `cells`."""
    down, right = slide.height / shape[0], slide.width / shape[1]  # pixels of level 0 per cell
    top, left, bottom, end = (
        *(round(cells.top * down), round(cells.left * right)),
        *(round(cells.bottom * down), round(cells.right * right)),
    )
    margin = round(_MARGIN * shrink)
    around = Box(top - margin, left - margin, bottom + margin, end + margin)
    box = around.intersection(Box(0, 0, slide.height, slide.width))
    lacking = _lacks_detail(slide.picture(box, shrink))
    step = shrink * _COARSER
    y, x = round((top - box.top) / step), round((left - box.left) / step)
    inner = lacking[y : y + round((bottom - top) / step), x : x + round((end - left) / step)]
    size = (cells.right - cells.left, cells.bottom - cells.top)
    return cv2.resize(inner.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)


def _lacks_detail(picture: np.ndarray) -> np.ndarray:
    """Where a picture at `_MPP` has less detail of one pixel than of two.

    Returns
    -------
    bool [h / 4, w / 4]
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = [max(1, round(length / _COARSER)) for length in grey.shape[::-1]]
    smoother = [grey, *(cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1, 2, 4))]
    energies = [
        cv2.GaussianBlur(
            cv2.resize((sharp - smooth) ** 2, size, interpolation=cv2.INTER_AREA),
            *((0, 0), _AROUND_UM / _MPP / _COARSER),
        )
        for sharp, smooth in pairwise(smoother)
    ]
    fine, middle, coarse = energies
    lacking: np.ndarray = (fine < _LEAST**2 * middle) & (coarse > _FAINTEST**2)
    return lacking
