"""Loss, gradients and statistics of one batch: ``python one_batch.py WEIGHTS LOSSES OUT``.

On the backend of KERAS_BACKEND, to be compared with another's.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tiny

from samples.synthetic import generate
from training.data.batches import boundaries
from training.losses import LOSSES
from training.model import weights
from training.model.network import PRESETS

PRESET = "smooth"
"""Without the kinks of ReLU, at which rounding turns into other gradients."""

BATCH = 2

_TINY = PRESETS[tiny.PRESET]
PRESETS[PRESET] = replace(
    _TINY,
    backbone=replace(_TINY.backbone, activation="swish", squeeze_excite=True),
    activation="swish",
)


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
    fields = [generate(256, 256, nuclei=20, seed=seed) for seed in range(BATCH)]
    classes = [np.append(0, field.classes)[field.instance_map] for field in fields]
    outlines = [boundaries(field.instance_map.astype(np.uint16)) for field in fields]
    return np.stack([field.image for field in fields]), {
        "class_logits": (1 << np.stack(classes)[..., None]).astype(np.uint8),
        "boundary_logits": np.stack(outlines)[..., None],
        "tissue_logits": np.eye(19, dtype=np.float32)[:BATCH],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
