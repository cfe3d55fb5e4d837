"""The features from which a nucleus' class is learned: see `tsfd_client.classes`.

They are the six levels that the network's decoders start from, brought to one grid. On them,
classes that the network was never taught are told apart better than on what the decoders make of
them (docs/notes/classes.md).
"""

from __future__ import annotations

import keras
from keras import ops

GRID = 64
"""Side of the grid that a tile of 256 pixels has."""
_LEVELS = range(2, 8)


def levels(network: keras.Model) -> list[keras.KerasTensor]:
    """Feature maps of a network that `training.model.network.build` made, fine to coarse.

    Returns
    -------
    list
        float32 [N, side, side, width]; the finest has a side of 128, others of 64 and less.
    """
    return [network.get_layer(f"gate{level}_drop").output for level in _LEVELS]


def on_grid(x: keras.KerasTensor) -> keras.KerasTensor:
    """Bring a map to the grid: averaged if it is finer, bilinear if it is coarser."""
    side = x.shape[1]
    if side > GRID:
        return ops.average_pool(x, side // GRID, side // GRID)
    return x if side == GRID else ops.image.resize(x, (GRID, GRID), interpolation="bilinear")


def feature_map(network: keras.Model) -> keras.KerasTensor:
    """All features of a network's input, float32 [N, 64, 64, D], fine levels first."""
    return ops.concatenate([on_grid(x) for x in levels(network)], axis=-1)
