"""Losses of the three heads, for labels that may be incomplete.

Every nucleus pixel carries the set of classes it may have, not one class: a set annotated
"epithelial, benign or malignant" and one annotated "a nucleus" train the same network. A pixel
costs the negative log of the probability the network gives to its whole set.
"""

from __future__ import annotations

import keras
from keras import ops

from training.labels import CLASSES

_EPSILON = 1e-6
_BETWEEN_NUCLEI = 4.0
_FALSE_POSITIVES = 0.3
_FALSE_NEGATIVES = 0.7
_TVERSKY_GAMMA = 4 / 3
_TISSUE_ALPHA = 0.3
_TISSUE_GAMMA = 5.0


def marginal_cross_entropy(allowed: keras.KerasTensor, logits: keras.KerasTensor):
    """Mean negative log probability of each pixel's allowed set.

    With one class allowed everywhere this is the ordinary cross-entropy.

    Parameters
    ----------
    allowed
        [N, H, W, 1], sum of ``2 ** class`` over the classes a pixel may have.
    logits
        float32 [N, H, W, 6].

    Returns
    -------
    float32 [N]
    """
    powers = ops.convert_to_tensor([2.0**c for c in range(len(CLASSES))], dtype="float32")
    bits = ops.floor(ops.cast(allowed, "float32") / powers) % 2.0
    inside = ops.logsumexp(ops.where(bits > 0, logits, -1e9), axis=-1)
    return ops.mean(ops.logsumexp(logits, axis=-1) - inside, axis=(1, 2))


def class_loss(allowed: keras.KerasTensor, logits: keras.KerasTensor):
    """Marginal cross-entropy plus focal Tversky loss of nucleus against background, float32 [N]."""
    nucleus = ops.cast(ops.not_equal(allowed, 1), "float32")
    probability = 1.0 - ops.softmax(logits, axis=-1)[..., :1]
    return marginal_cross_entropy(allowed, logits) + focal_tversky(nucleus, probability)


def boundary_loss(boundary: keras.KerasTensor, logits: keras.KerasTensor):
    """Binary cross-entropy plus focal Tversky loss of the nuclei's outlines, float32 [N].

    Parameters
    ----------
    boundary
        [N, H, W, 1], as `training.data.boundaries` makes it: pixels that part two nuclei (2) weigh
        more, for they are few and decide how many nuclei there are.
    logits
        float32 [N, H, W, 1].
    """
    truth = ops.cast(ops.not_equal(boundary, 0), "float32")
    weight = ops.where(ops.equal(boundary, 2), _BETWEEN_NUCLEI, 1.0)
    entropy = ops.binary_crossentropy(truth, logits, from_logits=True)
    return ops.mean(weight * entropy, axis=(1, 2, 3)) + focal_tversky(truth, ops.sigmoid(logits))


def focal_tversky(truth: keras.KerasTensor, probability: keras.KerasTensor):
    """Focal Tversky loss (Abraham and Khan 2019) over a batch, a scalar.

    Taken over the batch, not per patch: a patch with no nuclei would cost 1 whatever it predicts.
    """
    hit = ops.sum(truth * probability)
    false_positive = ops.sum((1.0 - truth) * probability)
    false_negative = ops.sum(truth * (1.0 - probability))
    index = (hit + _EPSILON) / (
        hit + _FALSE_POSITIVES * false_positive + _FALSE_NEGATIVES * false_negative + _EPSILON
    )
    return (1.0 - index) ** (1.0 / _TVERSKY_GAMMA)


def tissue_loss(tissue: keras.KerasTensor, logits: keras.KerasTensor):
    """Focal binary cross-entropy of the tissue, nothing where it is not known.

    Parameters
    ----------
    tissue
        [N, 19], one-hot; all zero where the tissue is not known.
    logits
        float32 [N, 19].

    Returns
    -------
    float32 [N]
    """
    truth = ops.cast(tissue, "float32")
    probability = ops.sigmoid(logits)
    of_truth = truth * probability + (1.0 - truth) * (1.0 - probability)
    weight = truth * _TISSUE_ALPHA + (1.0 - truth) * (1.0 - _TISSUE_ALPHA)
    entropy = ops.binary_crossentropy(truth, logits, from_logits=True)
    focal = weight * (1.0 - of_truth) ** _TISSUE_GAMMA * entropy
    return ops.sum(truth, axis=-1) * ops.sum(focal, axis=-1)
