"""The losses, above all that incomplete labels teach what they say and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from training.losses import (
    ANYTHING,
    LOSSES,
    NO_BOUNDARY,
    boundary_loss,
    marginal_cross_entropy,
    soft_targets,
    tissue_loss,
)


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


@pytest.mark.parametrize("family", LOSSES)
def test_gradients_raise_the_allowed_set_only(family: str) -> None:
    logits = tf.Variable(_logits())
    with tf.GradientTape() as tape:
        allowed = np.full((2, 8, 8, 1), 2**1 + 2**5, np.uint8)
        loss = tf.reduce_sum(LOSSES[family]["class_logits"](allowed, logits))
    step = -tape.gradient(loss, logits).numpy()

    before, after = (tf.nn.softmax(x).numpy() for x in (logits, logits + step))
    assert np.all(after[..., [1, 5]].sum(-1) > before[..., [1, 5]].sum(-1))
    assert np.all(step[..., [0, 2, 3, 4]].max(-1) < step[..., [1, 5]].max(-1))


def test_soft_targets_of_full_labels_are_one_hot() -> None:
    classes = np.random.default_rng(0).integers(0, 6, (2, 8, 8))

    targets = soft_targets((2**classes)[..., None].astype(np.uint8), _logits())

    np.testing.assert_allclose(targets, np.eye(6)[classes], atol=1e-6)


def test_soft_targets_keep_the_shares_within_the_set() -> None:
    logits = _logits()
    targets = soft_targets(np.full((2, 8, 8, 1), 2**1 + 2**5, np.uint8), logits).numpy()

    probability = tf.nn.softmax(logits).numpy()
    assert np.all(targets[..., [0, 2, 3, 4]] < 1e-6)
    np.testing.assert_allclose(
        targets[..., 1], probability[..., 1] / probability[..., [1, 5]].sum(-1), rtol=1e-4
    )


@pytest.mark.parametrize("family", LOSSES)
def test_perfect_predictions_cost_nothing(family: str) -> None:
    allowed = np.ones((1, 8, 8, 1), np.uint8)
    allowed[0, 2:5, 2:5] = 2**3
    logits = np.full((1, 8, 8, 6), -30, np.float32)
    logits[..., 0] = np.where(allowed[..., 0] == 1, 30, -30)
    logits[..., 3] = np.where(allowed[..., 0] == 8, 30, -30)
    outline = (allowed == 8).astype(np.uint8)

    def logits_of(truth: np.ndarray) -> np.ndarray:
        return np.where(truth == 1, 30, -30).astype(np.float32)

    class_loss, boundary_loss = (LOSSES[family][f"{head}_logits"] for head in ("class", "boundary"))
    assert np.all(class_loss(allowed, logits) < 1e-4)
    assert np.all(boundary_loss(outline, logits_of(outline)) < 1e-4)
    assert np.all(boundary_loss(outline, logits_of(1 - outline)) > 1)


def test_outlines_between_nuclei_weigh_more() -> None:
    outline = np.zeros((1, 8, 8, 1), np.uint8)
    outline[0, 4] = 1
    missed = np.full((1, 8, 8, 1), -3, np.float32)

    assert boundary_loss(2 * outline, missed) > boundary_loss(outline, missed)


def test_unknown_tissue_costs_nothing() -> None:
    known = np.zeros((2, 19), np.float32)
    known[1, 4] = 1

    loss = tissue_loss(known, np.zeros((2, 19), np.float32))

    assert loss[0] == 0
    assert loss[1] > 0


@pytest.mark.parametrize("head", ["class", "boundary"])
@pytest.mark.parametrize("family", LOSSES)
def test_pixels_left_out_teach_nothing(family: str, head: str) -> None:
    rng = np.random.default_rng(0)
    if head == "class":
        truth, unknown = (2 ** rng.integers(0, 6, (2, 8, 8, 1))).astype(np.uint8), ANYTHING
        logits = _logits()
    else:
        truth, unknown = rng.integers(0, 3, (2, 8, 8, 1)).astype(np.uint8), NO_BOUNDARY
        logits = _logits()[..., :1]
    truth[:, :, 4:] = unknown
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = LOSSES[family][f"{head}_logits"](truth, variable)
        total = tf.reduce_sum(loss)
    gradient = tape.gradient(total, variable).numpy()

    assert np.abs(gradient[:, :, 4:]).max() < 1e-7
    assert np.abs(gradient[:, :, :4]).max() > 1e-4
    assert np.isfinite(loss).all()


def test_the_tissue_is_learned_as_it_is_served() -> None:
    known = np.eye(19, dtype=np.float32)[[4]]
    logits = np.random.default_rng(0).normal(0, 1, (1, 19)).astype(np.float32)

    # What is added to all logits changes no softmax.
    np.testing.assert_allclose(
        tissue_loss(known, logits), tissue_loss(known, logits + 3), rtol=1e-4
    )
    assert tissue_loss(known, 20 * known) < 1e-6
