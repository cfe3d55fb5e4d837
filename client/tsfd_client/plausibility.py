"""Whether nuclei have a size that nuclei have: if not, the scale given is probably wrong.

Measured with the served network on 184 images of 12 sources at their stated scale: a quarter of the
nuclei is smaller than 8.4 to 37.5 µm², by the image. At half the micrometres per pixel (a 20x scan
taken for 40x) 92 of 100 images lie below that range, at the double 65 of 100 above it. The limits
were chosen on these images, without 8 or so whose stated scale looks wrong; there is no other check
of them. Tissues differ less in their small nuclei than in their large ones, so a median or mean
tells less; the number of nuclei per area hardly tells anything.
"""

from __future__ import annotations

import math

import numpy as np

from tsfd_client.nuclei import Nuclei

_FEWEST = 50  # nuclei; of fewer no quartile is told
_PLAUSIBLE = (8.0, 39.0)  # µm²
_USUAL = 17.6  # µm²


def scale_warning(nuclei: Nuclei) -> str | None:
    """What to tell a user whose image is probably at another scale than the one given.

    Returns
    -------
    str or None
        A sentence that names the likely scale; None where the nuclei's sizes are plausible, or too
        few to tell.
    """
    return warning_of(nuclei.areas_um2, nuclei.mpp)


def warning_of(areas_um2: np.ndarray, mpp: float) -> str | None:
    """The same from the areas of all nuclei, float32 [n], and the scale given."""
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
