"""Scores against cases small enough to work out by hand."""

import math

import numpy as np
import pytest

from training.metrics import (
    ClassDetection,
    Detection,
    ImagePQ,
    aggregated_jaccard,
    class_detection,
    detection,
    dice,
    image_pq,
    pannuke_scores,
    panoptic_quality,
)

EMPTY = np.zeros((4, 8), np.int32)


def strip(*runs: tuple[int, int, int]) -> np.ndarray:
    """Map [4, 8] whose row 0 holds runs of (first column, end column, id)."""
    found = EMPTY.copy()
    for first, end, instance in runs:
        found[0, first:end] = instance
    return found


def test_a_map_against_itself_is_perfect_whatever_its_ids() -> None:
    truth = strip((0, 3, 1), (4, 6, 2), (6, 8, 9))
    renumbered = strip((0, 3, 400_000), (4, 6, 7), (6, 8, 1)).astype(np.int64)
    quality = panoptic_quality(truth, renumbered)
    assert (quality.dq, quality.sq, quality.pq) == (1.0, 1.0, 1.0)
    assert (quality.tp, quality.fp, quality.fn) == (3, 0, 0)
    jaccard = aggregated_jaccard(truth, renumbered)
    assert (jaccard.aji, jaccard.aji_plus) == (1.0, 1.0)
    assert dice(truth, renumbered) == 1.0


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
    jaccard = aggregated_jaccard(truth, predicted)
    assert jaccard.aji == pytest.approx(expected[0], nan_ok=True)
    assert jaccard.aji_plus == pytest.approx(expected[0], nan_ok=True)
    assert dice(truth, predicted) == pytest.approx(expected[0], nan_ok=True)


def test_image_pq_scores_each_class_and_the_union() -> None:
    truth = strip((0, 3, 1), (4, 6, 2))
    predicted = strip((0, 3, 2), (4, 6, 1))
    scores = image_pq(truth, np.array([1, 2]), predicted, np.array([5, 1]))
    # Class 1 is found, class 2 is taken for class 5; class 5 is absent from the ground truth.
    assert scores.binary == 1.0
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
    assert math.isnan(scores.multi)
    assert all(math.isnan(pq) for pq in scores.classes)


def test_pannuke_scores_mean_images_then_tissues() -> None:
    nan = math.nan
    images = [
        ImagePQ(0.8, (0.6, 0.2, nan, nan, nan)),  # image mPQ 0.4
        ImagePQ(0.6, (0.8, nan, nan, nan, nan)),  # 0.8
        ImagePQ(nan, (nan,) * 5),
        ImagePQ(0.2, (nan, nan, nan, nan, 0.1)),  # 0.1
    ]
    scores = pannuke_scores(images, ["Colon", "Colon", "Colon", "Skin"])
    assert scores.tissues["Colon"] == pytest.approx((0.6, 0.7))
    assert scores.tissues["Skin"] == pytest.approx((0.1, 0.2))
    assert scores.mpq == pytest.approx(0.35)
    assert scores.bpq == pytest.approx(0.45)
    assert scores.classes == pytest.approx((0.7, 0.2, nan, nan, 0.1), nan_ok=True)


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


def test_detection_pairs_each_centroid_once() -> None:
    truth = np.array([[0.0, 0.0], [100.0, 0.0]])
    predicted = np.array([[3.0, 0.0], [5.0, 0.0], [100.0, 12.0]])
    found = detection(truth, predicted)
    assert found == Detection(tp=2, fp=1, fn=0)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 1.0
    assert found.f1 == pytest.approx(4 / 5)
    assert detection(truth, predicted, radius=11.9) == Detection(tp=1, fp=2, fn=1)


def test_detection_without_points() -> None:
    nothing = np.zeros((0, 2))
    one = np.array([[1.0, 2.0]])
    assert math.isnan(detection(nothing, nothing).f1)
    assert detection(one, nothing) == Detection(0, 0, 1)
    assert math.isnan(detection(one, nothing).precision)
    assert detection(nothing, one) == Detection(0, 1, 0)
    assert Detection(1, 2, 3) + Detection(4, 5, 6) == Detection(5, 7, 9)


def test_class_detection_tells_confusion_from_misses() -> None:
    truth = np.array([[0.0, 0.0], [50.0, 0.0], [100.0, 0.0]])
    predicted = np.array([[1.0, 0.0], [51.0, 0.0], [200.0, 0.0]])
    found = class_detection(truth, np.array([1, 1, 2]), predicted, np.array([1, 2, 2]))
    assert found[1] == ClassDetection(tp=1, confused_fp=0, confused_fn=1, fp=0, fn=0)
    assert found[2] == ClassDetection(tp=0, confused_fp=1, confused_fn=0, fp=1, fn=1)
    assert found[1].f1 == pytest.approx(2 / 4)
    assert found[2].f1 == 0.0
    assert math.isnan(found[3].f1)
    assert (found[1] + found[2]).fp == 1


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"same shape, not \[4, 8\] and \[4, 7\]\."):
        panoptic_quality(EMPTY, EMPTY[:, :7])
    with pytest.raises(ValueError, match=r"same shape, not \[4, 8\] and \[4, 7\]\."):
        dice(EMPTY, EMPTY[:, :7])
    with pytest.raises(ValueError, match=r"An instance map must hold whole numbers, not float64\."):
        panoptic_quality(EMPTY, EMPTY.astype(np.float64))
    with pytest.raises(
        ValueError,
        match=r"The truth map has instance ids from 3 to 3, but classes are given for 1\.\.2\.",
    ):
        image_pq(strip((0, 3, 3)), np.array([1, 1]), EMPTY, np.zeros(0, int))
    with pytest.raises(ValueError, match=r"not 0 images and 1 tissues\."):
        pannuke_scores([], ["Colon"])
    with pytest.raises(ValueError, match=r"Centroids must have the shape \[n, 2\], not \[3\]\."):
        detection(np.zeros(3), np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"Every centroid needs exactly one class\."):
        class_detection(np.zeros((1, 2)), np.zeros(0, int), np.zeros((0, 2)), np.zeros(0, int))
