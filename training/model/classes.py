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
    kept
        int [K]: index of the network's class that a class is, with its probability, which the
        others do not share in; -1 for the others.
    """

    parents: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    rejected: np.ndarray
    kept: np.ndarray


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
    old = network.get_layer("class_logits").output
    # Upsampled before the softmax: a sum over pixels then is closest to the head's answer for the
    # features' mean. Half of the resolution is enough for that, and a quarter of the work.
    logits = _resize(_logits(network, classes), TILE // 2)
    if classes.rejected.any():
        choose = np.eye(len(classes.rejected))
        kept, rejected = (
            _times(logits, choose[:, chosen]) for chosen in (~classes.rejected, classes.rejected)
        )
        is_kept = ops.cast(_highest(kept) >= _highest(rejected), "float32")
        shares = is_kept * ops.softmax(kept, axis=-1)
    else:
        shares = ops.softmax(logits, axis=-1)
    class_probs = _with_background(_foreground(old), shares)
    others = {name: output for name, output in network.output.items() if name != "class_logits"}
    return keras.Model(network.input, {"class_probs": class_probs, **others}, name=network.name)


def _logits(network: keras.Model, classes: Classes) -> keras.KerasTensor:
    """Logits of the new classes on the grid, [N, 64, 64, K]."""
    levels = _levels(network)
    kernels = np.split(classes.weights, np.cumsum([level.shape[-1] for level in levels])[:-1])
    by_side: dict[int, keras.KerasTensor] = {}
    for level, kernel in zip(levels, kernels, strict=True):
        side, projected = level.shape[1], _times(level, kernel)
        by_side[side] = by_side[side] + projected if side in by_side else projected
    shares = _log_shares(network.get_layer("class_logits").output)
    logits = _times(shares, classes.parents)
    for projected in by_side.values():
        logits = logits + _to_grid(projected)
    return _keep(logits + classes.bias.astype(np.float32), shares, classes.kept)


def _keep(
    logits: keras.KerasTensor, shares: keras.KerasTensor, kept: np.ndarray
) -> keras.KerasTensor:
    """As `tsfd_client.classes.head.keep`, of the logarithms of the network's shares."""
    if (kept < 0).all():
        return logits
    network = np.arange(shares.shape[-1])
    others = np.eye(len(kept))[:, kept < 0]
    is_left = ~np.isin(network, kept)
    own = _times(logits, others)
    left = _log_of_sum(_times(shares, np.eye(len(network))[:, is_left]))
    return _times(own - _log_of_sum(own) + left, others.T) + _times(
        shares, (network[:, None] == kept).astype(np.float32)
    )


def _log_of_sum(logits: keras.KerasTensor) -> keras.KerasTensor:
    highest = _highest(logits)
    return highest + ops.log(ops.sum(ops.exp(logits - highest), axis=-1, keepdims=True))


def _foreground(class_logits: keras.KerasTensor) -> keras.KerasTensor:
    """Probability that there is a nucleus, [N, H, W, 1]."""
    is_nucleus = np.ones((class_logits.shape[-1], 1))
    is_nucleus[0] = 0
    return _times(ops.softmax(class_logits, axis=-1), is_nucleus)


def _with_background(foreground: keras.KerasTensor, shares: keras.KerasTensor) -> keras.KerasTensor:
    """Share the foreground out, and put what is left to 1 in front: [N, H, W, 1 + K].

    Shares add up to 1, or to 0 where there is background.
    """
    channels = shares.shape[-1]
    taken = _times(shares, np.concatenate([-np.ones((channels, 1)), np.eye(channels)], axis=1))
    background = np.eye(1, 1 + channels, dtype=np.float32)[0]
    return foreground * _repeat(taken, foreground.shape[1]) + background


def _levels(network: keras.Model) -> list[keras.KerasTensor]:
    """The levels that the pyramid starts from, fine to coarse."""
    names = (layer.name for layer in network.layers)
    gates = sorted(name for name in names if re.fullmatch(r"gate\d_drop", name))
    return [network.get_layer(name).output for name in gates]


def _log_shares(class_logits: keras.KerasTensor) -> keras.KerasTensor:
    """Logarithms of the classes' probabilities given a nucleus, on the grid: [N, 64, 64, C]."""
    nuclear = np.eye(class_logits.shape[-1])[:, 1:]
    shares = ops.softmax(_times(_to_grid(class_logits), nuclear), axis=-1)
    return ops.log((shares + FLOOR) / (1 + FLOOR * shares.shape[-1]))


def _times(x: keras.KerasTensor, matrix: np.ndarray) -> keras.KerasTensor:
    """Multiply channels by a matrix. It also sums and chooses: other ways to do so are slow."""
    return ops.conv(x, matrix[None, None].astype(np.float32), padding="same")


def _highest(logits: keras.KerasTensor) -> keras.KerasTensor:
    return ops.max(logits, axis=-1, keepdims=True)


def _to_grid(x: keras.KerasTensor) -> keras.KerasTensor:
    """Average or interpolate to the features' grid."""
    shrink = x.shape[1] // GRID
    return ops.average_pool(x, shrink, shrink) if shrink > 1 else _resize(x, GRID)


def _resize(x: keras.KerasTensor, side: int) -> keras.KerasTensor:
    return x if x.shape[1] == side else ops.image.resize(x, (side, side), interpolation="bilinear")


def _repeat(x: keras.KerasTensor, side: int) -> keras.KerasTensor:
    return ops.image.resize(x, (side, side), interpolation="nearest")
