"""Losses of the three heads, for labels that may be incomplete.

Each nucleus pixel carries a set of possible classes instead of a single class, so that labels such
as "epithelial, benign or malignant" or "a nucleus" can train the same network. A recipe chooses one
of two families: in ``marginal``, a pixel costs the negative log of the probability that the network
gives to its whole set; ``paper`` has the losses of TSFD-Net (Ilyas et al. 2022), exactly as
published where each pixel has one class. Both leave out pixels that may be anything, background
included.
"""

from __future__ import annotations

import keras
from keras import ops

from training.target import CLASSES

ANYTHING = 2 ** len(CLASSES) - 1
"""Set of classes that marks a pixel to leave out."""

NO_BOUNDARY = 3
"""Value in the boundary labels that marks a pixel to leave out."""

_EPSILON = 1e-6
_BETWEEN_NUCLEI = 4.0
_FALSE_POSITIVES = 0.3
_FALSE_NEGATIVES = 0.7
_TVERSKY_GAMMA = 4 / 3
_AUXILIARY = 0.4  # weight of the paper's second term
_BORDER_WEIGHT = 3.0
_BORDER_WINDOW = 11
_FOCAL_GAMMA = 2.0
_TISSUE_ALPHA = 0.3
_TISSUE_GAMMA = 5.0


def marginal_cross_entropy(allowed: keras.KerasTensor, logits: keras.KerasTensor):
    """Mean negative log probability of each pixel's allowed set.

    With one class allowed everywhere this is the ordinary cross-entropy. A pixel that may be
    anything costs nothing but counts in the mean, so that every known pixel has the same weight.

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
    inside = ops.logsumexp(ops.where(_bits(allowed) > 0, logits, -1e9), axis=-1)
    return ops.mean(ops.logsumexp(logits, axis=-1) - inside, axis=(1, 2))


def soft_targets(allowed: keras.KerasTensor, logits: keras.KerasTensor):
    """The network's own class distribution of each pixel, restricted to the allowed set.

    Treated as a constant. With one class allowed it is the one-hot label, so it can stand in for
    one-hot labels in any loss: it pulls the probability into the set and leaves the shares within
    the set alone.

    Parameters
    ----------
    allowed
        [N, H, W, 1], sum of ``2 ** class`` over the classes a pixel may have.
    logits
        float32 [N, H, W, 6].

    Returns
    -------
    float32 [N, H, W, 6], summing to 1 over the classes
    """
    return ops.stop_gradient(ops.softmax(ops.where(_bits(allowed) > 0, logits, -1e9), axis=-1))


def _bits(allowed: keras.KerasTensor):
    """The sets as float32 [N, H, W, 6] of 0 and 1."""
    powers = ops.convert_to_tensor([2.0**c for c in range(len(CLASSES))], dtype="float32")
    return ops.floor(ops.cast(allowed, "float32") / powers) % 2.0


def class_loss(allowed: keras.KerasTensor, logits: keras.KerasTensor):
    """Marginal cross-entropy plus focal Tversky loss of nucleus against background, float32 [N]."""
    known = ops.cast(ops.not_equal(allowed, ANYTHING), "float32")
    nucleus = ops.cast(ops.not_equal(allowed, 1), "float32")
    probability = 1.0 - ops.softmax(logits, axis=-1)[..., :1]
    overlap = focal_tversky(known * nucleus, known * probability)
    return marginal_cross_entropy(allowed, logits) + overlap


def boundary_loss(boundary: keras.KerasTensor, logits: keras.KerasTensor):
    """Binary cross-entropy plus focal Tversky loss of the nuclei's outlines, float32 [N].

    Parameters
    ----------
    boundary
        [N, H, W, 1], as `data.batches.boundaries` makes it. Pixels that separate two nuclei (2)
        weigh more: they are few and decide how many nuclei are found. `NO_BOUNDARY` leaves a
        pixel out.
    logits
        float32 [N, H, W, 1].
    """
    known = ops.cast(ops.not_equal(boundary, NO_BOUNDARY), "float32")
    truth = known * ops.cast(ops.not_equal(boundary, 0), "float32")
    weight = known * ops.where(ops.equal(boundary, 2), _BETWEEN_NUCLEI, 1.0)
    entropy = ops.binary_crossentropy(truth, logits, from_logits=True)
    overlap = focal_tversky(truth, known * ops.sigmoid(logits))
    return ops.mean(weight * entropy, axis=(1, 2, 3)) + overlap


def paper_class_loss(allowed: keras.KerasTensor, logits: keras.KerasTensor):
    """The paper's class loss: focal Tversky plus 0.4 times border-weighted BCE-Dice, [N]."""
    truth = soft_targets(allowed, logits)
    probability = ops.softmax(logits, axis=-1)
    near = ops.average_pool(truth, _BORDER_WINDOW, strides=1, padding="same")
    border = ops.logical_and(near > 0.005, near < 0.995)
    weight = ops.where(border, _BORDER_WEIGHT, 1.0)
    weight = weight / ops.mean(weight)
    known = ops.cast(ops.not_equal(allowed, ANYTHING), "float32")
    weight = known * weight
    clipped = ops.clip(probability, _EPSILON, 1.0 - _EPSILON)
    entropy = -(truth * ops.log(clipped) + (1.0 - truth) * ops.log(1.0 - clipped))
    overlap = ops.sum(weight * truth * probability)
    dice = 1.0 - 2.0 * overlap / (ops.sum(weight * (truth + probability)) + _EPSILON)
    bce_dice = ops.mean(weight * entropy, axis=(1, 2, 3)) + dice
    return focal_tversky(known * truth, known * probability) + _AUXILIARY * bce_dice


def paper_boundary_loss(boundary: keras.KerasTensor, logits: keras.KerasTensor):
    """The paper's boundary loss: focal Tversky plus 0.4 times focal loss, [N]."""
    known = ops.cast(ops.not_equal(boundary, NO_BOUNDARY), "float32")
    truth = known * ops.cast(ops.not_equal(boundary, 0), "float32")
    probability = ops.sigmoid(logits)
    of_truth = truth * probability + (1.0 - truth) * (1.0 - probability)
    entropy = ops.binary_crossentropy(truth, logits, from_logits=True)
    focal = ops.mean(known * (1.0 - of_truth) ** _FOCAL_GAMMA * entropy, axis=(1, 2, 3))
    return focal_tversky(truth, known * probability) + _AUXILIARY * focal


def focal_tversky(truth: keras.KerasTensor, probability: keras.KerasTensor):
    """Focal Tversky loss (Abraham and Khan 2019) over a batch, a scalar.

    Not computed per patch, because a patch without nuclei would cost 1 whatever is predicted.
    """
    hit = ops.sum(truth * probability)
    false_positive = ops.sum((1.0 - truth) * probability)
    false_negative = ops.sum(truth * (1.0 - probability))
    index = (hit + _EPSILON) / (
        hit + _FALSE_POSITIVES * false_positive + _FALSE_NEGATIVES * false_negative + _EPSILON
    )
    return (1.0 - index) ** (1.0 / _TVERSKY_GAMMA)


def tissue_loss(tissue: keras.KerasTensor, logits: keras.KerasTensor):
    """Focal binary cross-entropy of the tissue's softmax; 0 where the tissue is unknown.

    A patch has one tissue, and both the paper and the served model use a softmax. The shipped
    weights were trained with sigmoids: the softmax of their logits ranks the tissues in the same
    order, but its values are normalised odds, not probabilities.

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
    probability = ops.softmax(logits, axis=-1)
    of_truth = truth * probability + (1.0 - truth) * (1.0 - probability)
    weight = truth * _TISSUE_ALPHA + (1.0 - truth) * (1.0 - _TISSUE_ALPHA)
    entropy = -ops.log(ops.clip(of_truth, _EPSILON, 1.0))
    focal = weight * (1.0 - of_truth) ** _TISSUE_GAMMA * entropy
    return ops.sum(truth, axis=-1) * ops.sum(focal, axis=-1)


LOSSES = {
    "marginal": {
        "class_logits": class_loss,
        "boundary_logits": boundary_loss,
        "tissue_logits": tissue_loss,
    },
    "paper": {
        "class_logits": paper_class_loss,
        "boundary_logits": paper_boundary_loss,
        "tissue_logits": tissue_loss,
    },
}
"""Losses by the recipe's name for them, then by output of the network."""
