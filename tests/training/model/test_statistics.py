"""Statistics of the batch normalisation after the weights have changed."""

from __future__ import annotations

import keras
import numpy as np

from training.model.normalization import BatchNormalization
from training.model.statistics import fit_statistics


def test_the_network_is_compiled_once() -> None:
    calls = []

    class Counted(keras.layers.Layer):
        def call(self, inputs):
            calls.append(1)
            return inputs + 0.0

    image = keras.Input((16, 16, 3))
    network = keras.Model(image, BatchNormalization()(Counted()(image)))
    calls.clear()

    fit_statistics(network, iter(np.zeros((3, 8, 16, 16, 3), np.uint8)))

    assert len(calls) == 1


def test_statistics_become_those_of_the_batches() -> None:
    image = keras.Input((16, 16, 3))
    hidden = keras.layers.Conv2D(4, 3)(image)
    network = keras.Model(image, BatchNormalization(momentum=0.9)(hidden))
    batches = np.random.default_rng(0).integers(0, 256, (3, 8, 16, 16, 3)).astype(np.uint8)

    fit_statistics(network, iter(batches))

    found = keras.ops.convert_to_numpy(network(np.concatenate(batches), training=False))
    np.testing.assert_allclose(found.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(found.std((0, 1, 2)), 1, atol=0.02)
    assert network.layers[-1].momentum == 0.9
