"""Panoptic quality against cases small enough to work out by hand."""

import math

import numpy as np
import pytest
from strips import EMPTY, strip

from metrics.panoptic_quality import channels_pq, image_pq, panoptic_quality


def test_a_map_against_itself_is_perfect_whatever_its_ids() -> None:
    truth = strip((0, 3, 1), (4, 6, 2), (6, 8, 9))
    renumbered = strip((0, 3, 400_000), (4, 6, 7), (6, 8, 1)).astype(np.int64)
    quality = panoptic_quality(truth, renumbered)
    assert (quality.dq, quality.sq, quality.pq) == (1.0, 1.0, 1.0)
    assert (quality.tp, quality.fp, quality.fn) == (3, 0, 0)


def test_panoptic_quality_counts_a_match_a_miss_and_a_false_alarm() -> None:
    truth = strip((0, 3, 1), (5, 6, 2))
    predicted = strip((0, 4, 5), (7, 8, 3))
    quality = panoptic_quality(truth, predicted)
    assert (quality.tp, quality.fp, quality.fn) == (1, 1, 1)
    assert quality.dq == pytest.approx(1 / 2)
    assert quality.sq == pytest.approx(3 / 4)
    assert quality.pq == pytest.approx(3 / 8)


def test_an_iou_of_exactly_one_half_is_no_match() -> None:
    quality = panoptic_quality(strip((0, 4, 1)), strip((0, 2, 1)))
    assert (quality.tp, quality.fp, quality.fn, quality.sq, quality.pq) == (0, 1, 1, 0.0, 0.0)


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        (EMPTY, EMPTY, (math.nan, 0, 0, 0)),
        (strip((0, 3, 1)), EMPTY, (0.0, 0, 0, 1)),
        (EMPTY, strip((0, 3, 1), (4, 5, 2)), (0.0, 0, 2, 0)),
    ],
)
def test_panoptic_quality_of_empty_maps(
    truth: np.ndarray, predicted: np.ndarray, expected: tuple[float, int, int, int]
) -> None:
    quality = panoptic_quality(truth, predicted)
    assert (quality.pq, quality.tp, quality.fp, quality.fn) == pytest.approx(expected, nan_ok=True)


def test_image_pq_scores_each_class_and_the_union() -> None:
    truth = strip((0, 3, 1), (4, 6, 2))
    predicted = strip((0, 3, 2), (4, 6, 1))
    scores = image_pq(truth, np.array([1, 2]), predicted, np.array([5, 1]))
    # Class 1 is found, class 2 is taken for class 5; class 5 is absent from the ground truth.
    assert (scores.binary, scores.quality.tp) == (1.0, 2)
    assert scores.classes == pytest.approx((1.0, 0.0, math.nan, math.nan, math.nan), nan_ok=True)
    assert scores.multi == pytest.approx(0.5)


def test_image_pq_counts_false_alarms_of_a_class_that_is_there() -> None:
    truth = strip((0, 3, 4))
    predicted = strip((0, 3, 1), (5, 6, 2))
    scores = image_pq(truth, np.array([1, 1, 1, 3]), predicted, np.array([3, 3]))
    assert scores.classes[2] == pytest.approx(1 / 1.5)


def test_image_pq_without_nuclei_in_the_ground_truth_is_nan() -> None:
    scores = image_pq(EMPTY, np.zeros(0, int), strip((0, 3, 1)), np.array([2]))
    assert math.isnan(scores.binary)
    assert scores.quality.pq == 0.0
    assert math.isnan(scores.multi)
    assert all(math.isnan(pq) for pq in scores.classes)


def test_image_pq_leaves_nuclei_of_unknown_class_and_their_matches_out() -> None:
    truth = strip((0, 3, 1), (4, 6, 2))
    predicted = strip((0, 3, 1), (4, 6, 2), (7, 8, 3))
    scores = image_pq(truth, np.array([2, 0]), predicted, np.array([2, 2, 2]), classes=(2, 3))
    # Of three predictions in class 2 one hits, one lies on the unknown nucleus, one on nothing.
    assert scores.classes == pytest.approx((1 / 1.5, math.nan), nan_ok=True)
    assert scores.binary == pytest.approx(2 / 2.5)


def test_channels_pq_scores_a_nucleus_whole_that_another_class_covers() -> None:
    channels = np.stack([EMPTY] * 5, axis=-1)
    channels[..., 0] = strip((0, 6, 7))
    channels[..., 2] = strip((4, 6, 90), (7, 8, 3))
    union = strip((0, 4, 1), (4, 6, 2), (7, 8, 3))
    whole = channels_pq(channels, union, strip((0, 6, 5)), np.array([0, 0, 0, 0, 1]))
    assert whole.classes == pytest.approx((1, math.nan, 0, math.nan, math.nan), nan_ok=True)
    # In the union four of its six pixels remain, and two nuclei more are missed.
    assert whole.binary == pytest.approx(4 / 6 / 2)
    assert whole.multi == pytest.approx(0.5)

    # A channel's nucleus is not cut by the union: two thirds of it are found, not all.
    cut = channels_pq(channels, union, strip((0, 4, 1), (4, 6, 2)), np.array([1, 3]))
    assert cut.classes[0] == pytest.approx(4 / 6)
    assert cut.classes[2] == pytest.approx(1 / 1.5)
    assert cut.binary == pytest.approx(2 / 2.5)

    nothing = channels_pq(channels, union, EMPTY, np.zeros(0, int))
    assert nothing.classes == pytest.approx((0, math.nan, 0, math.nan, math.nan), nan_ok=True)
    blank = channels_pq(np.zeros_like(channels), EMPTY, strip((0, 3, 1)), np.array([4]))
    assert math.isnan(blank.binary)
    assert math.isnan(blank.multi)


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"same shape, not \[4, 8\] and \[4, 7\]\."):
        panoptic_quality(EMPTY, EMPTY[:, :7])
    with pytest.raises(ValueError, match=r"An instance map must hold whole numbers, not float64\."):
        panoptic_quality(EMPTY, EMPTY.astype(np.float64))
    with pytest.raises(
        ValueError,
        match=r"The truth map has instance ids from 3 to 3, but classes are given for 1\.\.2\.",
    ):
        image_pq(strip((0, 3, 3)), np.array([1, 1]), EMPTY, np.zeros(0, int))
