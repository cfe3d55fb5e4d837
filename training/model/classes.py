"""Features of nuclei, and classes of one's own that are learned from them.

    image [N, 256, 256, 3] -> features [N, 64, 64, F + C]

The features are the activations of the segmentation decoder, F channels from fine to coarse, and
the logarithms of the probabilities of the network's C classes given a nucleus. `replace_classes`
gives the network's foreground to K other classes, whose logits are linear in the features, so that
a classifier that is fitted to features averaged over nuclei is served by the network itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from tsfd_client.contract import TILE

GRID = TILE // 4
"""Side of the grid of the features."""
_LEAST = 1e-4  # probability given a nucleus, before its logarithm
_REJECTED = 30.0  # added to the background's logit


@dataclass(frozen=True)
class Classes:
    """K classes instead of the network's C.

    Their logits given a nucleus are ``log p @ parents + f @ weights + bias``, where p are the
    network's probabilities given a nucleus and f are the decoder's features.

    Attributes
    ----------
    parents
        float32 [C, K]: 1 where a class of the network is the parent of a new one.
    weights
        float32 [F, K].
    bias
        float32 [K].
    rejected
        bool [K]: where such a class is the likeliest, there is background.
    """

    parents: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    rejected: np.ndarray


def features(network: keras.Model) -> keras.KerasTensor:
    """Features of a network, float16 [N, 64, 64, F + C], whichever classes it has by now."""
    parts = [*_decoder_levels(network), _log_shares(network.get_layer("class_logits").output)]
    return ops.cast(ops.concatenate([_to_grid(part) for part in parts], axis=-1), "float16")


def replace_classes(network: keras.Model, classes: Classes) -> keras.Model:
    """Give a network other classes.

    Parameters
    ----------
    network
        As `training.model.network.build` makes it, with its weights.
    classes
        Fitted to its features.

    Returns
    -------
    keras.Model
        With the network's inputs and outputs, of which ``class_logits`` is now [N, 256, 256,
        1 + K'] for the K' classes that are not rejected.
    """
    levels = _decoder_levels(network)
    kernels = np.split(classes.weights, np.cumsum([level.shape[-1] for level in levels])[:-1])
    learned = sum(
        _to_grid(_times(level, kernel)) for level, kernel in zip(levels, kernels, strict=True)
    )
    learned = _resize(learned + classes.bias.astype(np.float32), TILE)
    old = network.get_layer("class_logits").output
    logits = ops.log_softmax(_times(_log_shares(old), classes.parents) + learned, axis=-1)
    background = old[..., :1]
    if classes.rejected.any():
        rejected = ops.take(logits, np.flatnonzero(classes.rejected), axis=-1)
        logits = ops.take(logits, np.flatnonzero(~classes.rejected), axis=-1)
        is_rejected = _highest(rejected) > _highest(logits)
        background = background + _REJECTED * ops.cast(is_rejected, "float32")
    foreground = ops.logsumexp(old[..., 1:], axis=-1, keepdims=True)
    logits = ops.concatenate([background, foreground + logits], axis=-1)
    return keras.Model(network.input, {**network.output, "class_logits": logits}, name=network.name)


def _decoder_levels(network: keras.Model) -> list[keras.KerasTensor]:
    """Activations of the segmentation decoder, fine to coarse, then of the pyramid's top."""
    ends = sorted(layer.name for layer in network.layers if layer.name.endswith("_drop"))
    decoder = [name for name in ends if name.startswith("segmentation")]
    gates = [name for name in ends if name.startswith("gate")]
    tops = [name for name in ends if name.startswith("bifpn") and name.endswith("_p7_drop")]
    return [network.get_layer(name).output for name in (*decoder, [*gates, *tops][-1])]


def _log_shares(class_logits: keras.KerasTensor) -> keras.KerasTensor:
    """Logarithms of the classes' probabilities given a nucleus, [N, H, W, C]."""
    return ops.log(ops.maximum(ops.softmax(class_logits[..., 1:], axis=-1), _LEAST))


def _times(x: keras.KerasTensor, matrix: np.ndarray) -> keras.KerasTensor:
    return ops.conv(x, matrix[None, None].astype(np.float32), padding="same")


def _highest(logits: keras.KerasTensor) -> keras.KerasTensor:
    return ops.max(logits, axis=-1, keepdims=True)


def _to_grid(x: keras.KerasTensor) -> keras.KerasTensor:
    """Average or interpolate to the features' grid."""
    shrink = x.shape[1] // GRID
    return ops.average_pool(x, shrink, shrink) if shrink > 1 else _resize(x, GRID)


def _resize(x: keras.KerasTensor, side: int) -> keras.KerasTensor:
    return x if x.shape[1] == side else ops.image.resize(x, (side, side), interpolation="bilinear")
