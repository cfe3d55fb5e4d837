"""Whether nuclei have the sizes and numbers that nuclei have: if not, the scale is probably wrong.

Measured with the served network on 184 images of 12 sources at their stated scale: a quarter of the
nuclei is smaller than 8.4 to 37.5 µm², by the image. At half the micrometres per pixel (a 20x scan
taken for 40x) 92 of 100 images lie below that range, at the double 65 of 100 above it. The limits
were chosen on these images, without 8 or so whose stated scale looks wrong; there is no other check
of them. Tissues differ less in their small nuclei than in their large ones, so a median or mean
tells less.

The number of nuclei per area tells only the worst mistakes. At their stated scale 93 annotated
images of 17 sets have 1,408 per mm² and more; at a quarter of the resolution (a 10x scan taken for
40x) either the nuclei found are impossibly small or hardly any are found. What is annotated has
many cells: the limit lies far below, for fat and fibrous tissue.
"""

from __future__ import annotations

import math

import numpy as np

from tsfd_client.nuclei.result import Nuclei

_FEWEST = 50  # nuclei; of fewer no quartile is told
_PLAUSIBLE = (8.0, 39.0)  # µm²
_USUAL = 17.6  # µm²
_SPARSEST = 200.0  # nuclei per mm² of tissue
_ENOUGH_MM2 = 0.1  # of tissue: in less there may be hardly any


def scale_warning(nuclei: Nuclei, *, tissue_mm2: float | None = None) -> str | None:
    """What to tell a user whose image is probably at another scale than the one given.

    Parameters
    ----------
    tissue_mm2
        Area of the tissue in which the nuclei were found, where it is known without glass.

    Returns
    -------
    str or None
        A sentence that names the likely scale, or asks whether it is an H&E image where there are
        hardly any nuclei; None where sizes and number are plausible, or too few to tell.
    """
    return warning_of(nuclei.areas_um2, nuclei.mpp, tissue_mm2)


def warning_of(areas_um2: np.ndarray, mpp: float, tissue_mm2: float | None) -> str | None:
    """The same from the areas of all nuclei, float32 [n], and the scale given."""
    return _of_size(areas_um2, mpp) or _of_number(len(areas_um2), mpp, tissue_mm2)


def _of_number(number: int, mpp: float, tissue_mm2: float | None) -> str | None:
    asks = f"is this an H&E image, and at {mpp:.2g} µm per pixel ({10 / mpp:.0f}x)?"
    if number == 0:
        return f"No nucleus was found: {asks}"
    if tissue_mm2 and tissue_mm2 >= _ENOUGH_MM2 and number < _SPARSEST * tissue_mm2:
        return (
            f"There are only {number / tissue_mm2:.0f} nuclei per mm² of tissue, where even "
            f"{_SPARSEST:.0f} would be few: {asks}"
        )
    return None


def _of_size(areas_um2: np.ndarray, mpp: float) -> str | None:
    if len(areas_um2) < _FEWEST:
        return None
    quartile = float(np.quantile(areas_um2, 0.25))
    low, high = _PLAUSIBLE
    if low <= quartile <= high:
        return None
    # Scans differ in their scale by powers of two.
    likely = mpp * 2 ** round(math.log2(_USUAL / quartile) / 2)
    return (
        f"A quarter of the nuclei is smaller than {quartile:.1f} µm², where {low:.0f} to "
        f"{high:.0f} µm² is usual: the image is probably not at {mpp:.2g} µm per pixel but "
        f"at about {likely:.2g} ({10 / likely:.0f}x)."
    )
