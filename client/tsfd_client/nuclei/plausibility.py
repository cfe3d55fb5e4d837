"""Warn of a scale that is probably wrong, judging by the sizes and number of the nuclei.

Sizes: on 184 images from 12 sources at their stated scale, the served network gives a lower
quartile of nuclear area between 8.4 and 37.5 µm², depending on the image. At half the micrometres
per pixel (a 20x scan taken for 40x), 92 of 100 images fall below that range; at twice, 65 of 100
lie above it. The limits were chosen on these images, leaving out about 8 whose stated scale looks
wrong, and have not been validated on others. The lower quartile is used because tissues differ less
in their small nuclei than in their large ones.

Number: density reveals only gross errors. 93 annotated images from 17 data sets have at least 1,408
nuclei per mm² at their stated scale; at a quarter of the resolution (a 10x scan taken for 40x), the
nuclei found are impossibly small or hardly any are found. Annotated images are rich in cells, so
the limit is much lower, to allow for fat and fibrous tissue.
"""

from __future__ import annotations

import math

import numpy as np

from tsfd_client.nuclei.result import Nuclei

_FEWEST = 50  # nuclei: with fewer, the quartile is not judged
_PLAUSIBLE = (8.0, 39.0)  # µm², lower quartile of area
_USUAL = 17.6  # µm²
_SPARSEST = 200.0  # nuclei per mm² of tissue
_ENOUGH_MM2 = 0.1  # of tissue: a smaller area may well have hardly any nuclei


def scale_warning(nuclei: Nuclei, *, tissue_mm2: float | None = None) -> str | None:
    """Return a warning for the user if the given scale is probably wrong.

    Parameters
    ----------
    tissue_mm2
        Area of tissue in which the nuclei were found, without glass; None if unknown.

    Returns
    -------
    str or None
        A sentence that names the likely scale or, if there are hardly any nuclei, asks whether this
        is an H&E image. None if sizes and number are plausible, or there are too few to tell.
    """
    return warning_of(nuclei.areas_um2, nuclei.mpp, tissue_mm2)


def assumption_warning(image: object, mpp: float) -> str:
    """Return the warning for an image that does not say its scale."""
    return f"{image} does not say its scale; {mpp:g} µm per pixel ({10 / mpp:.0f}x) is assumed."


def warning_of(areas_um2: np.ndarray, mpp: float, tissue_mm2: float | None) -> str | None:
    """As `scale_warning`, from the areas of all nuclei, float32 [n], and the given scale."""
    return _of_size(areas_um2, mpp) or _of_number(len(areas_um2), mpp, tissue_mm2)


def _of_number(number: int, mpp: float, tissue_mm2: float | None) -> str | None:
    question = f"is this an H&E image, and at {mpp:.2g} µm per pixel ({10 / mpp:.0f}x)?"
    if number == 0:
        return f"No nuclei were found: {question}"
    if tissue_mm2 and tissue_mm2 >= _ENOUGH_MM2 and number < _SPARSEST * tissue_mm2:
        return (
            f"There are only {number / tissue_mm2:.0f} nuclei per mm² of tissue; even "
            f"{_SPARSEST:.0f} would be few: {question}"
        )
    return None


def _of_size(areas_um2: np.ndarray, mpp: float) -> str | None:
    if len(areas_um2) < _FEWEST:
        return None
    quartile = float(np.quantile(areas_um2, 0.25))
    low, high = _PLAUSIBLE
    if low <= quartile <= high:
        return None
    # The scales of scanners differ by powers of two.
    likely = mpp * 2 ** round(math.log2(_USUAL / quartile) / 2)
    return (
        f"A quarter of the nuclei are smaller than {quartile:.1f} µm²; {low:.0f} to {high:.0f} µm² "
        f"is usual. The image is probably not at {mpp:.2g} µm per pixel but at about {likely:.2g} "
        f"({10 / likely:.0f}x)."
    )
