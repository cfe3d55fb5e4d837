"""The network as served, with probabilities instead of logits."""

from __future__ import annotations

import keras
from keras import ops


def probabilities(logits: dict[str, keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
    """Convert a network's outputs to those of a served model.

    Parameters
    ----------
    logits
        As a network of `training.model.network.build` returns them.

    Returns
    -------
    dict
        ``class_probs`` uint8 [N, 256, 256, 1 + K], ``boundary_prob`` uint8 [N, 256, 256],
        ``tissue_probs`` float32 [N, 19].
    """
    return {
        "class_probs": _to_uint8(ops.softmax(logits["class_logits"], axis=-1)),
        "boundary_prob": _to_uint8(ops.sigmoid(logits["boundary_logits"][..., 0])),
        "tissue_probs": ops.softmax(logits["tissue_logits"], axis=-1),
    }


def _to_uint8(probability: keras.KerasTensor) -> keras.KerasTensor:
    return ops.cast(ops.round(255.0 * probability), "uint8")
