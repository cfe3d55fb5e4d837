"""Scores of images and data sets against cases small enough to work out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from training.data.annotated import ALLOWED, Annotated, Dataset, Entry
from training.evaluation.class_groups import ClassGroups, find_groups, single_classes
from training.evaluation.detection import ClassDetection, Detection
from training.evaluation.panoptic_quality import ImagePQ, PanopticQuality
from training.evaluation.scores import ImageScores, aggregate, score_image
from tsfd_client.nuclei import Nuclei

SIDE = 48
COLON, SKIN = 5, 14
NAN = math.nan


def squares(*corners: tuple[int, int]) -> np.ndarray:
    """Map whose instances 1..n are squares of 6 x 6 pixels at the corners (y, x)."""
    instances = np.zeros((SIDE, SIDE), np.uint16)
    for number, (y, x) in enumerate(corners, start=1):
        instances[y : y + 6, x : x + 6] = number
    return instances


def annotated(
    instances: np.ndarray, labels: Sequence[str], *, source: str = "set", tissue: int | None = None
) -> Annotated:
    return Annotated(
        image=np.zeros((SIDE, SIDE, 3), np.uint8),
        instances=instances,
        allowed=np.array([1, *(sum(1 << c for c in ALLOWED[x]) for x in labels)], np.uint8),
        tissue=tissue,
        source=source,
        group="g",
        name="a.png",
    )


def nuclei(instances: np.ndarray, classes: Sequence[int], *, tissue: int = COLON) -> Nuclei:
    count = len(classes)
    points = [np.argwhere(instances == i).mean(axis=0)[::-1] + 0.5 for i in range(1, count + 1)]
    return Nuclei(
        instance_map=instances.astype(np.int32),
        classes=np.array(classes, np.uint8),
        class_probs=np.ones(count, np.float32),
        centroids=np.array(points, np.float32).reshape(count, 2),
        boxes=np.zeros((count, 4), np.float32),
        contours=[],
        areas_um2=np.zeros(count, np.float32),
        tissue_probs=np.eye(19, dtype=np.float32)[tissue],
        mpp=0.25,
        release="test",
    )


def dataset(*images: Annotated) -> Dataset:
    return Dataset(
        Entry(i.name, i.source, i.group, i.tissue, i.instances.shape, lambda i=i: i) for i in images
    )


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
    )


def test_groups_are_the_labels_that_occur() -> None:
    two = squares((0, 0), (20, 20))
    groups = find_groups(
        dataset(
            annotated(two, ["epithelial_any", "unknown"], source="consep"),
            annotated(two, ["connective", "epithelial_any"], source="consep"),
            annotated(two, ["unlabelled", "unlabelled"], source="kumar"),
        )
    )

    assert groups.names == ("connective", "neoplastic/epithelial")
    assert groups.sources == {"consep"}
    assert groups.of_allowed(np.array([8, 34, 62], np.uint8)).tolist() == [1, 2, 0]
    assert groups.of_classes(np.array([1, 2, 3, 4, 5])).tolist() == [2, 0, 1, 0, 2]


def test_overlapping_labels_give_no_groups_and_say_so() -> None:
    two = squares((0, 0), (20, 20))
    groups = find_groups(dataset(annotated(two, ["epithelial_any", "not_neoplastic"])))

    assert groups.masks == ()
    assert groups.note == (
        "No class scores: the labels neoplastic/epithelial and "
        "inflammatory/connective/dead/epithelial overlap; evaluate the sets one by one with --set."
    )


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
