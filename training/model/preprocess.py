"""The network's input, computed from a tile inside the graph."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
_EOSIN = np.array([0.07, 0.99, 0.11])
STAIN_FROM_OD: np.ndarray = np.linalg.inv(
    np.stack([_HAEMATOXYLIN, _EOSIN, np.cross(_HAEMATOXYLIN, _EOSIN)])
)
"""[3, 3] matrix from optical density to haematoxylin, eosin and residual (Ruifrok 2001)."""

_DARKEST = 1e-6


def stain_channels(rgb: keras.KerasTensor) -> keras.KerasTensor:
    """Haematoxylin, eosin and residual of a tile, each stretched over the tile's own range.

    Ruifrok and Johnston 2001, scaled as the authors of TSFD-Net do: the optical density of each
    stain is min-max scaled over the tile, inverted, times 255 and floored. A channel that is
    constant over the tile (blank glass) holds no stain and becomes 255.

    Parameters
    ----------
    rgb
        float32 [N, H, W, 3], 0..255.

    Returns
    -------
    float32 [N, H, W, 3]
        Whole numbers 0..255; 255 is no stain.
    """
    density = ops.log(ops.maximum(rgb, _DARKEST)) / float(np.log(_DARKEST))
    stains = ops.matmul(density, ops.convert_to_tensor(STAIN_FROM_OD, dtype="float32"))
    low = ops.min(stains, axis=(1, 2), keepdims=True)
    span = ops.max(stains, axis=(1, 2), keepdims=True) - low
    # Rounding in the matrix product gives a constant tile a span of a few 1e-7; two neighbouring
    # grey levels are at least 2.8e-4 apart.
    scaled = ops.where(span > 1e-5, (stains - low) / ops.maximum(span, 1e-5), 0.0)
    return ops.floor((1.0 - scaled) * 255.0)


def network_input(image: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """RGB and stain channels, resized bilinearly (half-pixel centres) to the network's input.

    Parameters
    ----------
    image
        uint8 or float32 [N, 256, 256, 3], 0..255.
    size
        Side of the result in pixels.

    Returns
    -------
    float32 [N, size, size, 6]
    """
    rgb = ops.cast(image, "float32")
    x = ops.concatenate([rgb, stain_channels(rgb)], axis=-1)
    if x.shape[1:3] == (size, size):
        return x
    return ops.image.resize(x, (size, size), interpolation="bilinear")
