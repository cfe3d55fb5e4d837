"""Features of nuclei, and classes of one's own that are learned from them.

    image [N, 256, 256, 3] -> features [N, 64, 64, F + C]

The features are the levels that the pyramid starts from, F channels from fine to coarse, on one
grid, and the logarithms of the probabilities of the network's C classes given a nucleus. On these
levels, classes that the network was never taught are told apart better than on what the decoders
make of them (docs/notes/classes.md). `replace_classes` gives the network's foreground to K other
classes, whose logits are linear in the features, so that a classifier that is fitted to features
averaged over nuclei is served by the network itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from tsfd_client.classes.head import FLOOR
from tsfd_client.contract import TILE

GRID = TILE // 4
"""Side of the grid of the features."""
_LARGEST = 60.0  # of a logit; its exponential is far from float32's largest number


@dataclass(frozen=True)
class Classes:
    """K classes instead of the network's C.

    Their logits given a nucleus are ``log p @ parents + f @ weights + bias``, where p are the
    network's probabilities given a nucleus and f are the levels' features.

    Attributes
    ----------
    parents
        float32 [C, K]: about 1 where a class of the network is the parent of a new one.
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
    shares = _log_shares(network.get_layer("class_logits").output)
    parts = [*(_to_grid(level) for level in _levels(network)), shares]
    return ops.cast(ops.concatenate(parts, axis=-1), "float16")


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
        With the network's inputs and outputs, but for ``class_probs`` [N, 256, 256, 1 + K'] instead
        of ``class_logits``, where K' of the classes are not rejected.
    """
    levels = _levels(network)
    kernels = np.split(classes.weights, np.cumsum([level.shape[-1] for level in levels])[:-1])
    old = network.get_layer("class_logits").output
    logits = _times(_log_shares(old), classes.parents) + classes.bias.astype(np.float32)
    for level, kernel in zip(levels, kernels, strict=True):
        logits = logits + _times_on_grid(level, kernel)
    shares = ops.softmax(logits, axis=-1)
    if classes.rejected.any():
        rejected = _highest(ops.take(shares, np.flatnonzero(classes.rejected), axis=-1))
        shares = ops.take(shares, np.flatnonzero(~classes.rejected), axis=-1)
        is_kept = ops.cast(_highest(shares) >= rejected, "float32")
        shares = is_kept * shares / ops.sum(shares, axis=-1, keepdims=True)
    # All but the last steps are on the grid, a sixteenth of the pixels.
    nuclear = _foreground(old) * _resize(shares, TILE)
    class_probs = _with_background(nuclear)
    others = {name: output for name, output in network.output.items() if name != "class_logits"}
    return keras.Model(network.input, {"class_probs": class_probs, **others}, name=network.name)


def _foreground(class_logits: keras.KerasTensor) -> keras.KerasTensor:
    """Probability that there is a nucleus, [N, H, W, 1].

    Sums over channels are convolutions, because runtimes are slow at others of few channels.
    """
    channels = class_logits.shape[-1]
    above = np.concatenate([-np.ones((1, channels - 1)), np.eye(channels - 1)])
    logits = ops.minimum(_times(class_logits, above), _LARGEST)
    odds = _times(ops.exp(logits), np.ones((channels - 1, 1)))
    return odds / (1 + odds)


def _with_background(nuclear: keras.KerasTensor) -> keras.KerasTensor:
    """Put what is left to 1 in front, [N, H, W, 1 + K]."""
    channels = nuclear.shape[-1]
    matrix = np.concatenate([-np.ones((channels, 1)), np.eye(channels)], axis=1)
    return _times(nuclear, matrix) + np.eye(1, 1 + channels, dtype=np.float32)[0]


def _levels(network: keras.Model) -> list[keras.KerasTensor]:
    """The levels that the pyramid starts from, fine to coarse."""
    names = (layer.name for layer in network.layers)
    gates = sorted(name for name in names if re.fullmatch(r"gate\d_drop", name))
    return [network.get_layer(name).output for name in gates]


def _log_shares(class_logits: keras.KerasTensor) -> keras.KerasTensor:
    """Logarithms of the classes' probabilities given a nucleus, on the grid: [N, 64, 64, C]."""
    shares = ops.softmax(_to_grid(class_logits)[..., 1:], axis=-1)
    return ops.log((shares + FLOOR) / (1 + FLOOR * shares.shape[-1]))


def _times(x: keras.KerasTensor, matrix: np.ndarray) -> keras.KerasTensor:
    return ops.conv(x, matrix[None, None].astype(np.float32), padding="same")


def _times_on_grid(x: keras.KerasTensor, matrix: np.ndarray) -> keras.KerasTensor:
    """The same as of `_to_grid(x)`, in fewer steps."""
    shrink = x.shape[1] // GRID
    if shrink <= 1:
        return _resize(_times(x, matrix), GRID)
    kernel = np.broadcast_to(matrix / shrink**2, (shrink, shrink, *matrix.shape))
    return ops.conv(x, kernel.astype(np.float32), strides=shrink, padding="valid")


def _highest(logits: keras.KerasTensor) -> keras.KerasTensor:
    return ops.max(logits, axis=-1, keepdims=True)


def _to_grid(x: keras.KerasTensor) -> keras.KerasTensor:
    """Average or interpolate to the features' grid."""
    shrink = x.shape[1] // GRID
    return ops.average_pool(x, shrink, shrink) if shrink > 1 else _resize(x, GRID)


def _resize(x: keras.KerasTensor, side: int) -> keras.KerasTensor:
    return x if x.shape[1] == side else ops.image.resize(x, (side, side), interpolation="bilinear")
