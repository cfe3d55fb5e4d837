"""The losses, above all that incomplete labels teach what they say and nothing else."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from training.losses import boundary_loss, class_loss, marginal_cross_entropy, tissue_loss


def _logits() -> np.ndarray:
    return np.random.default_rng(2).normal(0, 2, (2, 8, 8, 6)).astype(np.float32)


def test_full_labels_cost_the_ordinary_cross_entropy() -> None:
    classes = np.random.default_rng(0).integers(0, 6, (2, 8, 8))
    logits = _logits()

    loss = marginal_cross_entropy((2**classes)[..., None].astype(np.uint8), logits)

    ordinary = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    np.testing.assert_allclose(loss, tf.reduce_mean(ordinary, (1, 2)), rtol=1e-5)


def test_a_set_costs_its_total_probability() -> None:
    logits = _logits()
    epithelial_any = np.full((2, 8, 8, 1), 2**1 + 2**5, np.uint8)

    probability = tf.nn.softmax(logits).numpy()

    np.testing.assert_allclose(
        marginal_cross_entropy(epithelial_any, logits),
        -np.log(probability[..., 1] + probability[..., 5]).mean((1, 2)),
        rtol=1e-5,
    )


def test_gradients_raise_allowed_classes_only() -> None:
    logits = tf.Variable(_logits())
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(
            marginal_cross_entropy(np.full((2, 8, 8, 1), 2**1 + 2**5, np.uint8), logits)
        )
    gradient = tape.gradient(loss, logits).numpy()

    assert np.all(gradient[..., [1, 5]] < 0)
    assert np.all(gradient[..., [0, 2, 3, 4]] > 0)


def test_perfect_predictions_cost_nothing() -> None:
    allowed = np.ones((1, 8, 8, 1), np.uint8)
    allowed[0, 2:5, 2:5] = 2**3
    logits = np.full((1, 8, 8, 6), -30, np.float32)
    logits[..., 0] = np.where(allowed[..., 0] == 1, 30, -30)
    logits[..., 3] = np.where(allowed[..., 0] == 8, 30, -30)
    outline = (allowed == 8).astype(np.uint8)

    def logits_of(truth: np.ndarray) -> np.ndarray:
        return np.where(truth == 1, 30, -30).astype(np.float32)

    assert np.all(class_loss(allowed, logits) < 1e-4)
    assert np.all(boundary_loss(outline, logits_of(outline)) < 1e-4)
    assert np.all(boundary_loss(outline, logits_of(1 - outline)) > 1)


def test_unknown_tissue_costs_nothing() -> None:
    known = np.zeros((2, 19), np.float32)
    known[1, 4] = 1

    loss = tissue_loss(known, np.zeros((2, 19), np.float32))

    assert loss[0] == 0
    assert loss[1] > 0
