"""Detection of centroids against cases small enough to count by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.evaluation.detection import (
    ClassDetection,
    Detection,
    class_detection,
    detection,
    pair,
)


def test_detection_pairs_each_centroid_once() -> None:
    truth = np.array([[0.0, 0.0], [100.0, 0.0]])
    predicted = np.array([[3.0, 0.0], [5.0, 0.0], [100.0, 12.0]])
    found = detection(pair(truth, predicted))
    assert found == Detection(tp=2, fp=1, fn=0)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 1.0
    assert found.f1 == pytest.approx(4 / 5)
    assert detection(pair(truth, predicted, radius=11.9)) == Detection(tp=1, fp=2, fn=1)


def test_detection_without_points() -> None:
    nothing = np.zeros((0, 2))
    one = np.array([[1.0, 2.0]])
    assert math.isnan(detection(pair(nothing, nothing)).f1)
    assert detection(pair(one, nothing)) == Detection(0, 0, 1)
    assert math.isnan(detection(pair(one, nothing)).precision)
    assert detection(pair(nothing, one)) == Detection(0, 1, 0)
    assert Detection(1, 2, 3) + Detection(4, 5, 6) == Detection(5, 7, 9)


def test_class_detection_tells_confusion_from_misses() -> None:
    truth = np.array([[0.0, 0.0], [50.0, 0.0], [100.0, 0.0]])
    predicted = np.array([[1.0, 0.0], [51.0, 0.0], [200.0, 0.0]])
    found = class_detection(pair(truth, predicted), np.array([1, 1, 2]), np.array([1, 2, 2]))
    assert found[1] == ClassDetection(tp=1, confused_fp=0, confused_fn=1, fp=0, fn=0)
    assert found[2] == ClassDetection(tp=0, confused_fp=1, confused_fn=0, fp=1, fn=1)
    assert found[1].f1 == pytest.approx(2 / 4)
    assert found[2].f1 == 0.0
    assert (found[1].precision, found[1].recall) == (1.0, pytest.approx(1 / 3))
    assert math.isnan(found[3].f1)
    assert (found[1] + found[2]).fp == 1


def test_class_detection_leaves_nuclei_of_unknown_class_and_their_matches_out() -> None:
    truth = np.array([[0.0, 0.0], [50.0, 0.0], [200.0, 0.0]])
    predicted = np.array([[1.0, 0.0], [51.0, 0.0], [100.0, 0.0]])
    found = class_detection(
        pair(truth, predicted), np.array([7, 0, 0]), np.array([7, 7, 7]), classes=(7,)
    )
    assert found == {7: ClassDetection(tp=1, confused_fp=0, confused_fn=0, fp=1, fn=0)}


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"Centroids must have the shape \[n, 2\], not \[3\]\."):
        pair(np.zeros(3), np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"Every centroid needs exactly one class\."):
        class_detection(
            pair(np.zeros((1, 2)), np.zeros((0, 2))), np.zeros(0, int), np.zeros(0, int)
        )
