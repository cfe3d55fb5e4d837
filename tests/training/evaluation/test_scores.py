"""Scores of data sets against cases small enough to work out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from squares import COLON, SKIN, annotated, dataset, nuclei, squares

from metrics.panoptic_quality import ImagePQ, PanopticQuality
from training.evaluation.calibration import BINS
from training.evaluation.class_groups import ClassGroups, find_groups, single_classes
from training.evaluation.detection import ClassDetection, Detection
from training.evaluation.image_scores import ImageScores, score_image
from training.evaluation.scores import aggregate

NAN = math.nan


def scored(
    binary: float, classes: tuple[float, ...], tissue: int, *, found_tissue: int = COLON
) -> ImageScores:
    """Scores in which only the panoptic quality and the tissue matter."""
    truths = 0 if math.isnan(binary) else 1
    return ImageScores(
        name="a.png",
        source="set",
        tissue=tissue,
        found_tissue=found_tissue,
        truth_counts=(0,) * 6,
        found_counts=(0,) * 6,
        dice=0.5,
        aji=0.5,
        aji_plus=0.5,
        pq=ImagePQ(PanopticQuality(binary, 1.0, binary, truths, 0, 0), classes),
        detection=Detection(1, 0, 0),
        class_detection=(ClassDetection(0, 0, 0, 0, 0),) * 5,
        confusion=np.zeros((6, 6), np.int64),
        reliability=np.zeros((BINS, 3)),
    )


def test_pannuke_means_images_then_tissues() -> None:
    images = [
        scored(0.8, (0.6, 0.2, NAN, NAN, NAN), COLON),  # mPQ 0.4
        scored(0.6, (0.8, NAN, NAN, NAN, NAN), COLON),  # 0.8
        scored(NAN, (NAN,) * 5, COLON, found_tissue=SKIN),
        scored(0.2, (NAN, NAN, NAN, NAN, 0.1), SKIN),  # 0.1
    ]
    scores = aggregate(images, single_classes("set"), by_tissue=True)

    assert [(t.name, t.images) for t in scores.tissues] == [("Colon", 3), ("Skin", 1)]
    colon, skin = scores.tissues
    assert (colon.mpq.value, colon.bpq.value) == pytest.approx((0.6, 0.7))
    assert (skin.mpq.value, skin.bpq.value) == pytest.approx((0.1, 0.2))
    assert scores.overall["mpq"].value == pytest.approx(0.35)
    assert scores.overall["bpq"].value == pytest.approx(0.45)
    values = [c.pq.value for c in scores.classes]
    assert values == pytest.approx([0.7, 0.2, NAN, NAN, 0.1], nan_ok=True)
    assert scores.overall["tissue_accuracy"].value == pytest.approx(2 / 4)

    by_image = aggregate(images, single_classes("set"), by_tissue=False)
    assert by_image.overall["mpq"].value == pytest.approx((0.4 + 0.8 + 0.1) / 3)
    assert by_image.overall["bpq"].value == pytest.approx((0.8 + 0.6 + 0.2) / 3)


def test_detections_are_summed_before_they_are_divided() -> None:
    one = replace(
        scored(1.0, (NAN,) * 5, COLON),
        detection=Detection(tp=8, fp=2, fn=0),
        class_detection=(ClassDetection(2, 1, 0, 1, 0),) * 5,
    )
    other = replace(one, detection=Detection(tp=2, fp=0, fn=8))
    scores = aggregate([one, other], single_classes("set"), by_tissue=False)

    assert scores.overall["detection_precision"].value == pytest.approx(10 / 12)
    assert scores.overall["detection_recall"].value == pytest.approx(10 / 18)
    assert scores.overall["detection_f1"].value == pytest.approx(20 / 30)
    first = scores.classes[0]
    assert first.precision.value == pytest.approx(2 / (2 + 2 * 1 + 1))
    assert first.recall.value == 1.0
    assert first.f1.value == pytest.approx(4 / 7)


def test_intervals_hold_the_mean_and_narrow_with_more_images() -> None:
    rng = np.random.default_rng(1)

    def interval(images: int) -> tuple[float, float, float]:
        values = rng.normal(0.6, 0.1, images)
        several = [scored(float(v), (NAN,) * 5, COLON) for v in values]
        estimate = aggregate(several, single_classes("set"), by_tissue=False).overall["bpq"]
        assert estimate.value == pytest.approx(values.mean())
        assert estimate.low < estimate.value < estimate.high
        # The interval of a mean: 1.96 standard errors to either side.
        half = 1.96 * values.std() / images**0.5
        assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.1)
        return estimate.value, estimate.low, estimate.high

    few, many = interval(20), interval(400)
    assert many[2] - many[1] < few[2] - few[1]


def test_what_is_not_defined_stays_so() -> None:
    truth = annotated(squares(), [])
    found = nuclei(squares(), [])
    scores = aggregate(
        [score_image(truth, found, find_groups(dataset(truth)))],
        find_groups(dataset(truth)),
        by_tissue=False,
    )

    assert scores.classes == scores.tissues == ()
    assert all(math.isnan(estimate.value) for estimate in scores.overall.values())
    single = aggregate([scored(0.5, (NAN,) * 5, COLON)], single_classes("set"), by_tissue=False)
    assert single.overall["bpq"].value == 0.5
    assert math.isnan(single.overall["bpq"].low)


def test_images_of_sets_without_classes_do_not_count_against_classes() -> None:
    one = squares((0, 0))
    groups = ClassGroups((4,), frozenset({"with"}))
    images = [
        score_image(annotated(one, ["inflammatory"], source="with"), nuclei(one, [2]), groups),
        score_image(annotated(one, ["unlabelled"], source="without"), nuclei(one, [2]), groups),
    ]
    inflammatory = aggregate(images, groups, by_tissue=False).classes[0]

    assert (inflammatory.name, inflammatory.truth, inflammatory.found) == ("inflammatory", 1, 1)
    assert inflammatory.pq.value == inflammatory.f1.value == 1.0


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"There are no images to take the mean of\."):
        aggregate([], single_classes(), by_tissue=False)
    image = replace(scored(0.5, (NAN,) * 5, COLON), tissue=None)
    with pytest.raises(ValueError, match=r"Scores by tissue need a tissue for every image\."):
        aggregate([image], single_classes("set"), by_tissue=True)


def test_confusion_and_calibration_are_those_of_all_nuclei() -> None:
    sure, unsure = np.zeros((BINS, 3)), np.zeros((BINS, 3))
    sure[9] = 4, 3.8, 4
    unsure[9] = 4, 3.8, 0
    confusion = np.eye(6, dtype=np.int64)
    images = [
        replace(scored(0.5, (NAN,) * 5, COLON), confusion=confusion, reliability=table)
        for table in (sure, unsure)
    ]
    scores = aggregate(images, single_classes("set"), by_tissue=False)

    assert scores.confusion.tolist() == (2 * confusion).tolist()
    error = scores.overall["calibration_error"]
    # Half of eight nuclei are right, all of them with a confidence of 0.95.
    assert error.value == pytest.approx(0.45)
    assert error.low == pytest.approx(0.05)
    assert error.high == pytest.approx(0.95)
