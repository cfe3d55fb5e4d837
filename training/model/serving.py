"""The network as served, with probabilities instead of logits."""

from __future__ import annotations

import keras
from keras import ops


def probabilities(outputs: dict[str, keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
    """Convert a network's outputs to those of a served model.

    Parameters
    ----------
    outputs
        Of a network of `training.model.network.build`, or one whose classes were replaced
        (`training.model.classes`).

    Returns
    -------
    dict
        ``class_probs`` uint8 [N, 256, 256, 1 + K], ``boundary_prob`` uint8 [N, 256, 256],
        ``tissue_probs`` float32 [N, 19].
    """
    if "class_probs" in outputs:
        class_probs = outputs["class_probs"]
    else:
        class_probs = ops.softmax(outputs["class_logits"], axis=-1)
    return {
        "class_probs": _to_uint8(class_probs),
        "boundary_prob": _to_uint8(ops.sigmoid(outputs["boundary_logits"][..., 0])),
        "tissue_probs": ops.softmax(outputs["tissue_logits"], axis=-1),
    }


def _to_uint8(probability: keras.KerasTensor) -> keras.KerasTensor:
    return ops.cast(ops.round(255.0 * probability), "uint8")
