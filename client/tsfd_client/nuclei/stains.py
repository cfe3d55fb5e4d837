"""How much haematoxylin and eosin nuclei hold, by the deconvolution of Ruifrok and Johnston (2001).

It is the network's own, with its vectors of the two stains, but not stretched over each tile as the
network's input is: a nucleus would get another value in another tile.
"""

from __future__ import annotations

from typing import Final

import numpy as np

_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
_EOSIN = np.array([0.07, 0.99, 0.11])
STAIN_FROM_OD: Final[np.ndarray] = np.linalg.inv(
    np.stack([_HAEMATOXYLIN, _EOSIN, np.cross(_HAEMATOXYLIN, _EOSIN)])
)
"""[3, 3] matrix from optical density (R, G, B) to haematoxylin, eosin and residual."""

# Optical density of each grey level; what is black counts as the darkest grey.
_DENSITY = -np.log10(np.maximum(np.arange(256), 1) / 255)
STAINS: Final = ("haematoxylin", "eosin")


def stains(pixels: np.ndarray, labels: np.ndarray, nuclei: int) -> dict[str, np.ndarray]:
    """Mean and standard deviation of both stains in each nucleus.

    Parameters
    ----------
    pixels
        uint8 [h, w, 3], RGB.
    labels
        uint32 [h, w]; number i is nucleus i - 1, and 0 none.
    nuclei
        Their number, n; each has pixels.

    Returns
    -------
    dict
        ``haematoxylin_mean``, ``haematoxylin_std``, ``eosin_mean`` and ``eosin_std``, float64 [n]:
        optical density to base 10.
    """
    places = np.flatnonzero(labels)
    own, colours = labels.ravel()[places], pixels.reshape(-1, 3)[places]
    sizes = np.bincount(own, minlength=nuclei + 1)[1:]
    found = {}
    for number, name in enumerate(STAINS):
        red, green, blue = np.outer(STAIN_FROM_OD[:, number], _DENSITY)
        amount = red[colours[:, 0]]
        amount += green[colours[:, 1]]
        amount += blue[colours[:, 2]]
        mean = np.bincount(own, amount, nuclei + 1)[1:] / sizes
        amount *= amount
        square = np.bincount(own, amount, nuclei + 1)[1:] / sizes
        found[f"{name}_mean"] = mean
        found[f"{name}_std"] = np.sqrt(np.maximum(square - mean * mean, 0))
    return found
