"""The post-processing of TSFD-Net's authors on probabilities whose nuclei are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from instances import Parameters
from probabilities import PARAMETERS, SCENES, column, disc, probabilities, renumbered, touching

from metrics.panoptic_quality import panoptic_quality
from training.evaluation.reference import _thin, extract

DEFAULTS = Parameters()


@given(SCENES, PARAMETERS)
@settings(max_examples=100, deadline=None)
def test_whatever_the_probabilities_the_result_is_consistent(
    maps: tuple[np.ndarray, np.ndarray], parameters: Parameters
) -> None:
    class_probs, boundary_prob = maps
    result = extract(class_probs, boundary_prob, parameters)
    ids, nuclei = result.instance_map, result.nuclei
    assert (ids.dtype, nuclei.dtype) == (np.uint16, np.float32)
    assert ids.shape == boundary_prob.shape
    assert np.array_equal(np.unique(ids[ids > 0]), np.arange(1, len(nuclei) + 1))
    assert np.array_equal(renumbered(ids), ids)
    for i, row in enumerate(nuclei):
        mask = ids == i + 1
        y, x = np.nonzero(mask)
        assert cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] == 2
        assert tuple(row[2:6]) == (x.min(), y.min(), x.max() + 1, y.max() + 1)
        assert row[:2] == pytest.approx((x.mean(), y.mean()), rel=1e-5)
        assert row[column("area")] == mask.sum()
        chosen = int(row[column("class")])
        assert chosen in range(1, 6)
        sums = class_probs[mask].astype(np.int64).sum(axis=0)[1:]
        assert row[column("class_prob")] == pytest.approx(
            sums[chosen - 1] / max(sums.sum(), 1), abs=1e-6
        )

    again = extract(np.asfortranarray(class_probs), np.asfortranarray(boundary_prob), parameters)
    assert np.array_equal(again.instance_map, ids)
    assert np.array_equal(again.nuclei, nuclei)


def test_touching_nuclei_are_split_along_their_boundary() -> None:
    truth = touching()
    result = extract(*probabilities(truth, np.array([1, 5])), DEFAULTS)
    assert len(result.nuclei) == 2
    assert panoptic_quality(truth, result.instance_map).sq > 0.8


def test_the_class_is_that_of_the_map_that_held_the_nucleus() -> None:
    truth = np.zeros((32, 32), np.int32)
    truth[8:24, 8:24] = 1
    class_probs, boundary_prob = probabilities(truth)
    class_probs[8:18, 8:24] = (0, 0, 150, 105, 0, 0)  # 2 passes the threshold on most pixels ...
    class_probs[18:24, 8:24] = (0, 0, 0, 255, 0, 0)  # ... though 3 has the larger sum
    boundary_prob[:] = 0
    (row,) = extract(class_probs, boundary_prob, DEFAULTS).nuclei
    inside = class_probs[8:24, 8:24].astype(int).sum(axis=(0, 1))
    assert inside[2] < inside[3]
    assert row[column("class")] == 2
    assert row[column("class_prob")] == pytest.approx(inside[2] / inside[1:].sum())


def test_specks_go_and_min_area_is_inclusive() -> None:
    truth = np.zeros((64, 64), np.int32)
    truth[4:6, 4:6] = 1  # 4 pixels
    truth[20:27, 20:27] = 2  # 49 pixels
    class_probs, boundary_prob = probabilities(truth)
    boundary_prob[:] = 0
    found = extract(class_probs, boundary_prob, DEFAULTS)
    assert np.array_equal(found.instance_map, truth == 2)
    assert len(extract(class_probs, boundary_prob, Parameters(min_area=49)).nuclei) == 1
    assert len(extract(class_probs, boundary_prob, Parameters(min_area=50)).nuclei) == 0


def test_faint_nuclei_stay() -> None:
    truth = np.zeros((64, 64), np.int32)
    truth[4:14, 4:14] = 1
    class_probs, boundary_prob = probabilities(truth)
    boundary_prob[:] = 0
    class_probs[truth > 0] = (102, 153, 0, 0, 0, 0)
    assert len(extract(class_probs, boundary_prob, Parameters(min_confidence=0.9)).nuclei) == 1


def test_an_empty_image_has_no_nuclei() -> None:
    maps = probabilities(np.zeros((256, 256), np.int32), np.zeros(0, int))
    result = extract(*maps, DEFAULTS)
    assert not result.instance_map.any()
    assert result.nuclei.shape == (0, 11)


@pytest.mark.parametrize("classes", [1, 3, 30])
def test_any_number_of_classes(classes: int) -> None:
    truth = np.zeros((40, 40 * classes), np.uint16)
    for c in range(classes):
        disc(truth, 20, 20 + 40 * c, 12, c + 1)
    maps = probabilities(truth, np.arange(1, classes + 1), channels=classes + 1)
    found = extract(*maps, DEFAULTS)
    by_place = found.nuclei[np.argsort(found.nuclei[:, column("centroid_x")])]
    assert by_place[:, column("class")].tolist() == [*range(1, classes + 1)]
    assert (by_place[:, column("class_prob")] == 1).all()


def test_thinning_leaves_one_pixel_lines() -> None:
    rng = np.random.default_rng(0)
    lines = cv2.GaussianBlur(rng.normal(size=(80, 90)), (0, 0), 4)
    mask = (np.abs(lines) < 0.4 * lines.std()).astype(np.uint8)
    skeleton = _thin(mask)
    assert (skeleton <= mask).all()
    assert np.array_equal(_thin(skeleton), skeleton)
    squares = skeleton[1:, 1:] + skeleton[1:, :-1] + skeleton[:-1, 1:] + skeleton[:-1, :-1]
    assert squares.max() < 4
    # Zhang and Suen's conditions may delete a 2 x 2 square, but nothing larger.
    _, before, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    large = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] > 4) + 1
    assert set(large) <= set(np.unique(before[skeleton > 0]))
    assert cv2.connectedComponents(skeleton, connectivity=8)[0] - 1 <= stats.shape[0] - 1


def test_thinning_a_bar_leaves_its_middle() -> None:
    mask = np.zeros((9, 20), np.uint8)
    mask[2:7, 2:18] = 1
    skeleton = _thin(mask)
    assert set(np.nonzero(skeleton)[0]) == {4}
    assert skeleton.sum() >= 10
