"""Dice, AJI and AJI+ against cases small enough to work out by hand."""

import math

import numpy as np
import pytest
from strips import EMPTY, strip

from metrics.dice_and_aji import aggregated_jaccard, dice


def test_a_map_against_itself_is_perfect_whatever_its_ids() -> None:
    truth = strip((0, 3, 1), (4, 6, 2), (6, 8, 9))
    renumbered = strip((0, 3, 400_000), (4, 6, 7), (6, 8, 1)).astype(np.int64)
    jaccard = aggregated_jaccard(truth, renumbered)
    assert (jaccard.aji, jaccard.aji_plus) == (1.0, 1.0)
    assert dice(truth, renumbered) == 1.0


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        (EMPTY, EMPTY, math.nan),
        (strip((0, 3, 1)), EMPTY, 0.0),
        (EMPTY, strip((0, 3, 1), (4, 5, 2)), 0.0),
    ],
)
def test_empty_maps(truth: np.ndarray, predicted: np.ndarray, expected: float) -> None:
    jaccard = aggregated_jaccard(truth, predicted)
    assert jaccard.aji == pytest.approx(expected, nan_ok=True)
    assert jaccard.aji_plus == pytest.approx(expected, nan_ok=True)
    assert dice(truth, predicted) == pytest.approx(expected, nan_ok=True)


def test_aji_reuses_a_prediction_where_aji_plus_does_not() -> None:
    truth = strip((0, 4, 1), (4, 6, 2))
    predicted = strip((0, 6, 1))
    jaccard = aggregated_jaccard(truth, predicted)
    # AJI: both true nuclei take the one prediction: (4 + 2) / (6 + 6).
    assert jaccard.aji == pytest.approx(6 / 12)
    # AJI+: the larger takes it, the smaller stays alone: 4 / (6 + 2).
    assert jaccard.aji_plus == pytest.approx(4 / 8)


def test_aji_adds_unmatched_predictions_to_the_union() -> None:
    jaccard = aggregated_jaccard(strip((0, 4, 1)), strip((0, 3, 1), (5, 7, 2)))
    assert jaccard.aji == pytest.approx(3 / 6)
    assert jaccard.aji_plus == pytest.approx(3 / 6)


def test_dice_of_half_an_overlap() -> None:
    assert dice(strip((0, 4, 1)), strip((2, 6, 1))) == pytest.approx(0.5)


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"same shape, not \[4, 8\] and \[4, 7\]\."):
        dice(EMPTY, EMPTY[:, :7])
    with pytest.raises(ValueError, match=r"same shape, not \[4, 8\] and \[4, 7\]\."):
        aggregated_jaccard(EMPTY, EMPTY[:, :7])
