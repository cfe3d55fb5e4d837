"""Scores of one image against cases small enough to work out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from squares import COLON, SKIN, annotated, dataset, nuclei, squares

from training.evaluation.class_groups import ClassGroups, find_groups, single_classes
from training.evaluation.detection import ClassDetection, Detection
from training.evaluation.image_scores import score_image

NAN = math.nan


def test_an_image_is_scored_in_groups_of_classes() -> None:
    truth = annotated(
        squares((0, 0), (0, 20), (20, 0), (20, 20)),
        ["epithelial_any", "connective", "connective", "unknown"],
        tissue=SKIN,
    )
    # Epithelial instead of neoplastic is right; one connective is taken for dead; one is missed.
    found = nuclei(squares((0, 0), (0, 20), (20, 20), (40, 40)), [5, 4, 3, 3])
    scores = score_image(truth, found, find_groups(dataset(truth)))

    assert (scores.truth_counts, scores.found_counts) == ((1, 2, 1), (1, 2, 1))
    assert scores.pq.quality.pq == pytest.approx(3 / 4)
    # Of the two connective predictions, that on the unknown nucleus does not count.
    assert scores.pq.classes == (0.0, 1.0)
    assert scores.detection == Detection(tp=3, fp=1, fn=1)
    assert scores.class_detection == (
        ClassDetection(tp=0, confused_fp=0, confused_fn=1, fp=1, fn=1),
        ClassDetection(tp=1, confused_fp=0, confused_fn=0, fp=0, fn=0),
    )
    assert (scores.tissue, scores.found_tissue) == (SKIN, COLON)
    assert scores.dice == pytest.approx(3 / 4)
    assert scores.aji == pytest.approx(3 / 5)
    # Rows: superfluous, connective, neoplastic or epithelial; columns: missed and the classes.
    assert scores.confusion.tolist() == [
        [0, 0, 0, 1, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_overlapping_channels_are_scored_in_each_channel() -> None:
    channels = np.stack([squares()] * 5, axis=-1)
    channels[0:6, 0:6, 0] = 1
    channels[0:6, 4:10, 4] = 1
    union = channels[..., 0].copy()
    union[channels[..., 4] > 0] = 2
    truth = annotated(union, ["neoplastic", "epithelial"], source="pannuke", tissue=COLON)
    found = nuclei(channels[..., 0], [1])
    scores = score_image(replace(truth, channels=channels), found, single_classes("pannuke"))

    assert scores.pq.classes == pytest.approx((1, NAN, NAN, NAN, 0), nan_ok=True)
    assert scores.pq.binary == pytest.approx(4 / 6 / 1.5)


def test_confidence_is_compared_where_the_class_is_known() -> None:
    truth = annotated(
        squares((0, 0), (0, 20), (20, 0), (20, 20)),
        ["dead", "dead", "epithelial_any", "unlabelled"],
    )
    found = nuclei(
        squares((0, 0), (0, 20), (20, 0), (20, 20), (40, 40)),
        [4, 2, 1, 1, 1],
        class_probs=[0.95, 0.91, 0.9, 0.9, 0.9],
    )
    scores = score_image(truth, found, find_groups(dataset(truth)))

    # Two of class dead, one of them right; the others' classes are not known for certain.
    assert scores.reliability[:9].sum() == 0
    assert scores.reliability[9] == pytest.approx([2, 1.86, 1])


def test_what_is_found_in_a_set_without_classes_is_not_confused() -> None:
    one = squares((0, 0))
    truth = annotated(one, ["unlabelled"], source="without")
    scores = score_image(truth, nuclei(one, [2]), ClassGroups((4,), frozenset({"with"})))

    assert not scores.confusion.any()


def test_what_is_found_where_nobody_marked_is_neither_right_nor_wrong() -> None:
    known = annotated(squares((0, 0), (0, 20)), ["dead", "connective"])
    ignore = np.zeros(known.instances.shape, bool)
    ignore[20:] = True
    # One right, one missed; one on trusted pixels that is none; two others where nobody marked, of
    # which the second lies there by four of its six rows.
    found = nuclei(squares((0, 0), (0, 40), (30, 10), (18, 30)), [4, 1, 2, 3])
    groups = find_groups(dataset(known))

    everywhere = score_image(known, found, groups)
    scores = score_image(replace(known, ignore=ignore), found, groups)

    assert everywhere.detection == Detection(tp=1, fp=3, fn=1)
    assert scores.detection == Detection(tp=1, fp=1, fn=1)
    assert scores.pq.quality.pq == pytest.approx(1 / 2)
    assert scores.class_detection == (
        ClassDetection(tp=0, confused_fp=0, confused_fn=0, fp=0, fn=1),
        ClassDetection(tp=1, confused_fp=0, confused_fn=0, fp=0, fn=0),
    )
    assert scores.dice == pytest.approx(1 / 2)
    assert scores.aji == pytest.approx(1 / 3)
    assert sum(scores.found_counts) == 2


def test_a_true_nucleus_on_pixels_to_leave_out_is_not_missed() -> None:
    truth = annotated(squares((0, 0), (30, 10)), ["dead", "dead"])
    ignore = np.zeros(truth.instances.shape, bool)
    ignore[20:] = True
    scores = score_image(
        replace(truth, ignore=ignore), nuclei(squares((0, 0)), [4]), find_groups(dataset(truth))
    )

    assert scores.detection == Detection(tp=1, fp=0, fn=0)
    assert scores.pq.quality.pq == 1
