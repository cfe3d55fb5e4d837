"""Batch normalisation statistics for averaged weights.

The activations of averaged weights differ from those of the weights averaged: with the statistics
of the latter, the network finds fewer nuclei and confuses classes (Izmailov et al. 2018, "Averaging
weights leads to wider optima and better generalization").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial

import keras
import numpy as np

from training.model.normalization import BatchNormalization


def fit_statistics(network: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Set the moving means and variances of a network to their means over batches.

    Parameters
    ----------
    network
        With `training.model.normalization.BatchNormalization`. The states of its dropout advance.
    batches
        At least one; uint8 [N, 256, 256, 3] each, all of one size.
    """
    layers = [layer for layer in network.layers if isinstance(layer, BatchNormalization)]
    moving = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # after a batch the moving statistics are its own
    forward = _compiled(network)
    found = []
    for batch in batches:
        forward(batch)
        found.append([keras.ops.convert_to_numpy(variable) for variable in moving])
    for variable, values in zip(moving, zip(*found, strict=True), strict=True):
        variable.assign(np.mean(values, axis=0))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@lru_cache(maxsize=1)
def _compiled(network: keras.Model) -> Callable:
    """The network as one function of a batch, which leaves its statistics in the layers."""
    forward = partial(network, training=True)
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.no_grad()(forward)
    if backend == "jax":
        return _compiled_by_jax(network)
    import tensorflow as tf

    return tf.function(forward, autograph=False)


def _compiled_by_jax(network: keras.Model) -> Callable:
    import jax

    @jax.jit
    def states(trainable: list, fixed: list, batch: np.ndarray) -> list:
        return network.stateless_call(trainable, fixed, batch, training=True)[1]

    def forward(batch: np.ndarray) -> None:
        fixed = network.non_trainable_variables
        values = states(
            [v.value for v in network.trainable_variables], [v.value for v in fixed], batch
        )
        for variable, value in zip(fixed, values, strict=True):
            variable.assign(value)

    return forward
