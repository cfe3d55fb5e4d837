"""Statistics of the batch normalisation for weights that were not learned with them.

A moving average of weights has other activations than the weights it is made of: with their
statistics it finds fewer nuclei, and takes them for other classes (Izmailov et al. 2018, "Averaging
weights leads to wider optima and better generalization").
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np

from training.model.normalization import BatchNormalization


def fit_statistics(network: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Set the moving means and variances of a network to their means over batches.

    Parameters
    ----------
    network
        With `training.model.normalization.BatchNormalization`. The states of its dropout go on.
    batches
        At least one; uint8 [N, 256, 256, 3] each, all of one size.
    """
    layers = [layer for layer in network.layers if isinstance(layer, BatchNormalization)]
    moving = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # a batch leaves its own statistics
    found = []
    for batch in batches:
        network(batch, training=True)
        found.append([keras.ops.convert_to_numpy(variable) for variable in moving])
    for variable, values in zip(moving, zip(*found, strict=True), strict=True):
        variable.assign(np.mean(values, axis=0))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
