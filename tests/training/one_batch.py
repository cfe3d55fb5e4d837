"""Loss, gradients and statistics of one batch: ``python one_batch.py WEIGHTS LOSSES OUT``.

On the backend of KERAS_BACKEND, to be compared with another's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tiny  # noqa: F401, its preset

from training.losses import LOSSES
from training.model import weights

BATCH = 2


def main(file: str, losses: str, out: str) -> None:
    """Write ``loss``, and by the variables' paths gradients and moving statistics."""
    network, _ = weights.load(Path(file))
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0  # the backends draw different numbers
    network.compile(loss=LOSSES[losses])
    image, targets = _batch()

    def total():
        return network.compute_loss(image, targets, network(image, training=True))

    variables = network.trainable_variables
    if keras.backend.backend() == "torch":
        loss = total()
        loss.backward()
        gradients = [v.value.grad for v in variables]
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = total()
        gradients = tape.gradient(loss, [v.value for v in variables])
    found = {"loss": loss, **{v.path: g for v, g in zip(variables, gradients, strict=True)}}
    found |= {v.path: v.value for v in network.variables if "moving" in v.path}
    np.savez(out, **{name: keras.ops.convert_to_numpy(value) for name, value in found.items()})


def _batch() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shape = (BATCH, 256, 256, 1)
    return rng.integers(0, 256, (*shape[:3], 3)).astype(np.uint8), {
        "class_logits": rng.integers(1, 64, shape).astype(np.uint8),
        "boundary_logits": rng.integers(0, 4, shape).astype(np.uint8),
        "tissue_logits": np.eye(19, dtype=np.float32)[rng.integers(0, 19, BATCH)],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
