"""Instance extraction on probabilities whose nuclei are known."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import instances
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from probabilities import PARAMETERS, SCENES, column, disc, probabilities, renumbered, scene

from metrics.panoptic_quality import panoptic_quality
from samples.synthetic import generate

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

Parameters, extract = instances.Parameters, instances.extract


@given(SCENES, PARAMETERS)
@settings(max_examples=150, deadline=None)
def test_whatever_the_probabilities_the_result_is_consistent(
    maps: tuple[np.ndarray, np.ndarray], parameters: object
) -> None:
    class_probs, boundary_prob = maps
    result = extract(class_probs, boundary_prob, parameters)
    ids, nuclei, contours = result.instance_map, result.nuclei, result.contours
    count = len(nuclei)
    assert (ids.dtype, nuclei.dtype, contours.dtype) == (np.uint16, np.float32, np.int16)
    assert ids.shape == boundary_prob.shape
    assert nuclei.shape == (count, 11)
    assert np.array_equal(np.unique(ids[ids > 0]), np.arange(1, count + 1))
    assert np.array_equal(renumbered(ids), ids)
    assert nuclei[:, column("contour_length")].sum() == len(contours)

    for i, row in enumerate(nuclei):
        mask = ids == i + 1
        y, x = np.nonzero(mask)
        assert cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] == 2
        assert tuple(row[2:6]) == (x.min(), y.min(), x.max() + 1, y.max() + 1)
        assert row[:2] == pytest.approx((x.mean(), y.mean()), rel=1e-5)
        assert row[column("area")] == mask.sum()
        assert mask.sum() >= parameters.min_area

        sums = class_probs[mask].astype(np.int64).sum(axis=0)[1:]
        chosen = int(row[column("class")])
        assert chosen == 1 + sums.argmax()
        assert row[column("class_prob")] == pytest.approx(
            sums[chosen - 1] / max(sums.sum(), 1), abs=1e-6
        )

        start, length = (int(row[column(name)]) for name in ("contour_start", "contour_length"))
        contour = contours[start : start + length]
        assert mask[contour[:, 1], contour[:, 0]].all()
        assert tuple(contour[0]) == (x[0], y[0])
        steps = np.abs(contour - np.roll(contour, 1, axis=0)).max(axis=1)
        assert (steps == (1 if length > 1 else 0)).all()
        outlines, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        assert {tuple(point) for point in contour.tolist()} == {
            tuple(point) for point in outlines[0][:, 0].tolist()
        }


@given(SCENES, PARAMETERS)
@settings(max_examples=40, deadline=None)
def test_the_same_input_gives_the_same_result(
    maps: tuple[np.ndarray, np.ndarray], parameters: object
) -> None:
    first, again = extract(*maps, parameters), extract(*maps, parameters)
    assert np.array_equal(first.instance_map, again.instance_map)
    assert np.array_equal(first.nuclei, again.nuclei)
    assert np.array_equal(first.contours, again.contours)


@given(
    SCENES,
    st.sampled_from([(slice(None, None, -1), slice(None)), (slice(None), slice(None, None, -1))]),
)
@settings(max_examples=80, deadline=None, derandomize=True)  # equal seeds may tie
def test_flipping_the_input_flips_the_watershed(
    maps: tuple[np.ndarray, np.ndarray], flip: tuple[slice, slice]
) -> None:
    class_probs, boundary_prob = maps
    upright = extract(class_probs, boundary_prob).instance_map
    flipped = extract(class_probs[flip], boundary_prob[flip]).instance_map
    assert np.array_equal(renumbered(upright[flip]), flipped)


def test_perfect_probabilities_of_a_synthetic_field_return_its_nuclei() -> None:
    field = generate(256, 320, nuclei=40, seed=5)
    result = extract(*probabilities(field.instance_map, field.classes.astype(np.int64)))
    order = renumbered(field.instance_map)
    assert panoptic_quality(order, result.instance_map).pq >= 0.99
    firsts = [np.argmax(order == i + 1) for i in range(40)]
    classes = field.classes[field.instance_map.ravel()[firsts].astype(np.int64) - 1]
    assert result.nuclei[:, column("class")].tolist() == classes.tolist()
    assert (result.nuclei[:, column("class_prob")] > 0.98).all()


@pytest.mark.parametrize("name", ["kumar", "tnbc", "consep"])
def test_perfect_probabilities_of_real_nuclei_return_them(name: str) -> None:
    masks = sorted((DATA / name / "train").glob("*.npz"))
    if not masks:
        pytest.skip("no shared data beside the repository")
    scores = []
    for path in masks[:4]:
        truth = np.load(path)["instances"].astype(np.int32)
        found = extract(*probabilities(truth), with_contours=False)
        scores.append(panoptic_quality(truth, found.instance_map).pq)
    assert np.mean(scores) >= 0.99


def test_touching_nuclei_are_split_along_their_boundary() -> None:
    truth = np.zeros((64, 64), np.int32)
    disc(truth, 32, 20, 12, 1)
    disc(truth, 32, 44, 12, 2)
    truth[:, :32][truth[:, :32] == 2] = 1
    assert ((truth[:, 31] == 1) & (truth[:, 32] == 2)).any()
    result = extract(*probabilities(truth, np.array([1, 5])))
    assert len(result.nuclei) == 2
    assert panoptic_quality(truth, result.instance_map).sq > 0.99


def test_touching_nuclei_without_a_boundary_are_one() -> None:
    truth = np.zeros((40, 40), np.int32)
    truth[10:30, 5:35] = 1
    class_probs, boundary_prob = probabilities(truth)
    boundary_prob[:] = 0
    assert np.array_equal(extract(class_probs, boundary_prob).instance_map, truth)


def test_a_one_pixel_gap_keeps_nuclei_apart_even_without_a_boundary() -> None:
    truth = np.zeros((40, 40), np.int32)
    truth[10:30, 5:19] = 1
    truth[10:30, 20:35] = 2
    class_probs, boundary_prob = probabilities(truth)
    assert np.array_equal(extract(class_probs, boundary_prob).instance_map, truth)
    boundary_prob[:] = 0
    assert np.array_equal(extract(class_probs, boundary_prob).instance_map, truth)


def test_corners_that_touch_diagonally_are_two_nuclei() -> None:
    truth = np.zeros((40, 40), np.int32)
    truth[5:20, 5:20] = 1
    truth[20:35, 20:35] = 2
    class_probs, boundary_prob = probabilities(truth)
    boundary_prob[:] = 0
    assert np.array_equal(extract(class_probs, boundary_prob).instance_map, truth)


def test_holes_are_filled() -> None:
    filled = np.zeros((48, 48), np.int32)
    disc(filled, 24, 24, 15, 1)
    class_probs, boundary_prob = probabilities(filled)
    class_probs[20:25, 22:28] = (255, 0, 0, 0, 0, 0)
    result = extract(class_probs, boundary_prob)
    assert np.array_equal(result.instance_map, filled)
    assert result.nuclei[0, column("class_prob")] == 1.0


def test_an_opening_larger_than_its_ring_is_a_lumen() -> None:
    ring = np.zeros((64, 64), np.int32)
    disc(ring, 32, 32, 28, 1)
    disc(ring, 32, 32, 24, 0)
    assert np.array_equal(
        extract(*probabilities(ring), Parameters(boundary_threshold=0.99)).instance_map > 0,
        ring > 0,
    )


def test_a_hole_that_holds_another_nucleus_stays() -> None:
    truth = np.zeros((64, 64), np.int32)
    disc(truth, 32, 32, 30, 1)
    disc(truth, 32, 32, 12, 0)
    disc(truth, 32, 32, 8, 2)
    result = extract(*probabilities(truth))
    assert np.array_equal(result.instance_map, truth)


def test_nuclei_at_the_border_reach_it() -> None:
    truth = np.zeros((40, 60), np.int32)
    disc(truth, 0, 0, 9, 1)
    disc(truth, 20, 59, 9, 2)
    disc(truth, 39, 30, 9, 3)
    result = extract(*probabilities(truth))
    assert np.array_equal(result.instance_map, truth)
    assert result.nuclei[0, 2:6].tolist() == [0, 0, 10, 10]
    assert result.nuclei[1, 2:6].tolist() == [50, 11, 60, 30]


def test_faint_nuclei_go_by_their_mean_foreground() -> None:
    truth = np.zeros((64, 64), np.int32)
    truth[4:14, 4:14], truth[30:40, 30:40] = 1, 2
    class_probs, boundary_prob = probabilities(truth)
    boundary_prob[:] = 0
    half = np.zeros_like(truth, bool)
    half[30:35, 30:40] = True
    class_probs[half, 0], class_probs[half, 1] = 102, 153  # 0.6: a mean of 0.8 with the other half

    assert extract(class_probs, boundary_prob).nuclei.shape[0] == 2
    stricter = extract(class_probs, boundary_prob, Parameters(min_confidence=0.81))
    assert np.array_equal(stricter.instance_map, truth == 1)


def test_specks_go_and_min_area_is_inclusive() -> None:
    truth = np.zeros((64, 64), np.int32)
    truth[4:6, 4:6] = 1  # 4 pixels
    truth[20:27, 20:27] = 2  # 49 pixels
    class_probs, boundary_prob = probabilities(truth)
    boundary_prob[:] = 0
    found = extract(class_probs, boundary_prob)
    assert np.array_equal(found.instance_map, truth == 2)
    kept = extract(class_probs, boundary_prob, Parameters(min_area=49))
    assert len(kept.nuclei) == 1
    gone = extract(class_probs, boundary_prob, Parameters(min_area=50))
    assert len(gone.nuclei) == 0


def test_a_nucleus_that_is_all_boundary_is_kept() -> None:
    truth = np.zeros((32, 32), np.int32)
    disc(truth, 16, 16, 4, 1)
    class_probs, boundary_prob = probabilities(truth)
    boundary_prob[:] = 255
    assert np.array_equal(extract(class_probs, boundary_prob).instance_map, truth)


def test_an_empty_image_has_no_nuclei() -> None:
    class_probs, boundary_prob = probabilities(np.zeros((256, 256), np.int32), np.zeros(0, int))
    result = extract(class_probs, boundary_prob)
    assert not result.instance_map.any()
    assert result.nuclei.shape == (0, 11)
    assert result.contours.shape == (0, 2)


def test_an_image_that_is_one_blob_is_one_nucleus() -> None:
    truth = np.ones((50, 70), np.int32)
    class_probs, boundary_prob = probabilities(truth, np.array([4]))
    result = extract(class_probs, boundary_prob)
    assert np.array_equal(result.instance_map, truth)
    assert result.nuclei.tolist() == [[34.5, 24.5, 0, 0, 70, 50, 3500, 4, 1, 0, 2 * 118]]
    assert len(np.unique(result.contours, axis=0)) == 2 * 118


def test_the_boundary_decides_where_a_dumbbell_is_cut() -> None:
    class_probs, boundary_prob = probabilities(np.ones((20, 60), np.int32))
    ridge = 255 - 12 * np.abs(np.arange(60) - 40)
    boundary_prob[:] = np.clip(ridge, 0, 255)
    result = extract(class_probs, boundary_prob)
    assert len(result.nuclei) == 2
    assert (result.instance_map[:, :40] == 1).all()
    assert (result.instance_map[:, 41:] == 2).all()


def test_the_class_has_the_largest_summed_probability() -> None:
    truth = np.zeros((32, 32), np.int32)
    truth[8:24, 8:24] = 1
    class_probs, boundary_prob = probabilities(truth)
    class_probs[8:24, 8:24] = (0, 0, 128, 127, 0, 0)  # 3 is second everywhere ...
    class_probs[8:12, 8:24] = (0, 0, 0, 255, 0, 0)  # ... and certain in a quarter
    row = extract(class_probs, boundary_prob).nuclei[0]
    assert row[column("class")] == 3
    assert row[column("class_prob")] == pytest.approx((0.75 * 127 + 0.25 * 255) / 255)


@pytest.mark.parametrize("classes", [1, 3, 30])
def test_any_number_of_classes(classes: int) -> None:
    truth = np.zeros((40, 40 * classes), np.uint16)
    for c in range(classes):
        disc(truth, 20, 20 + 40 * c, 12, c + 1)
    class_probs, boundary_prob = probabilities(
        truth, np.arange(1, classes + 1), channels=classes + 1
    )
    found = extract(class_probs, boundary_prob)
    by_place = found.nuclei[np.argsort(found.nuclei[:, column("centroid_x")])]
    assert by_place[:, column("class")].tolist() == [*range(1, classes + 1)]
    assert (by_place[:, column("class_prob")] == 1).all()


@pytest.mark.parametrize("channels", [2, 9, 17])
def test_sums_of_wide_nuclei_are_exact(channels: int) -> None:
    class_probs = np.random.default_rng(channels).integers(200, 256, (2, 1000, channels), np.uint8)
    class_probs[..., 0] = 0
    row = extract(class_probs, np.zeros((2, 1000), np.uint8)).nuclei[0]
    sums = class_probs[..., 1:].sum(axis=(0, 1), dtype=int)
    assert row[column("class")] == 1 + sums.argmax()
    assert row[column("class_prob")] == np.float32(sums.max() / sums.sum())


def test_contours_are_traced_only_when_asked_for() -> None:
    truth = np.zeros((32, 32), np.int32)
    disc(truth, 16, 16, 8, 1)
    traced = extract(*probabilities(truth))
    plain = extract(*probabilities(truth), with_contours=False)
    assert plain.contours.shape == (0, 2)
    assert (plain.nuclei[:, -2:] == 0).all()
    assert np.array_equal(plain.nuclei[:, :-2], traced.nuclei[:, :-2])
    assert len(traced.contours) > 0


def test_threads_and_array_layouts_do_not_matter() -> None:
    maps = [scene(64, 80, seed, smooth=3) for seed in range(12)]
    alone = [extract(*pair).instance_map for pair in maps]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(
            lambda pair: extract(*(np.asfortranarray(array) for array in pair)), maps
        )
        assert all(np.array_equal(a, b.instance_map) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize(
    ("class_probs", "boundary_prob", "message"),
    [
        (
            np.zeros((4, 4, 6), np.float32),
            np.zeros((4, 4), np.uint8),
            "class_probs must be a uint8 array (probability times 255), not float32.",
        ),
        (
            np.zeros((4, 4, 6), np.uint8),
            [[0]],
            "boundary_prob must be a uint8 array (probability times 255), not list.",
        ),
        (
            np.zeros((4, 4, 1), np.uint8),
            np.zeros((4, 4), np.uint8),
            "class_probs must have the shape [height, width, 1 + classes], not [4, 4, 1].",
        ),
        (
            np.zeros((1, 4, 4, 6), np.uint8),
            np.zeros((4, 4), np.uint8),
            "class_probs must have the shape [height, width, 1 + classes], not [1, 4, 4, 6].",
        ),
        (
            np.zeros((4, 4, 6), np.uint8),
            np.zeros((4, 4, 1), np.uint8),
            "boundary_prob must have the shape [height, width], not [4, 4, 1].",
        ),
        (
            np.zeros((4, 4, 6), np.uint8),
            np.zeros((4, 5), np.uint8),
            "class_probs covers 4 x 4 pixels but boundary_prob 4 x 5: both must be of the same "
            "image.",
        ),
        (
            np.zeros((0, 4, 6), np.uint8),
            np.zeros((0, 4), np.uint8),
            "The image is empty (0 x 4 pixels).",
        ),
        (
            np.zeros((1, 32768, 6), np.uint8),
            np.zeros((1, 32768), np.uint8),
            "The image has 1 x 32768 pixels, but a side may have at most 32,767: process it in "
            "tiles.",
        ),
    ],
)
def test_bad_arrays_are_refused(
    class_probs: np.ndarray, boundary_prob: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared in full below
        extract(class_probs, boundary_prob)
    assert str(caught.value) == message


def test_more_nuclei_than_ids_are_refused() -> None:
    class_probs = np.zeros((514, 514, 6), np.uint8)
    class_probs[..., 0] = 255
    class_probs[::2, ::2, 0] = 0
    with pytest.raises(
        ValueError,
        match=r"^The image has 66,049 nuclei, more than the 65,535 an instance map can number: "
        r"process it in tiles\.$",
    ):
        extract(class_probs, np.zeros((514, 514), np.uint8), Parameters(min_area=0))


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        (
            {"foreground_threshold": 0},
            "foreground_threshold must be a number between 0 and 1 (both excluded), not 0.",
        ),
        (
            {"boundary_threshold": 1.0},
            "boundary_threshold must be a number between 0 and 1 (both excluded), not 1.0.",
        ),
        (
            {"boundary_threshold": float("nan")},
            "boundary_threshold must be a number between 0 and 1 (both excluded), not nan.",
        ),
        (
            {"foreground_threshold": "0.5"},
            "foreground_threshold must be a number between 0 and 1 (both excluded), not '0.5'.",
        ),
        ({"min_area": -1}, "min_area must be a whole number of pixels >= 0, not -1."),
        ({"min_area": 2.5}, "min_area must be a whole number of pixels >= 0, not 2.5."),
        ({"min_area": True}, "min_area must be a whole number of pixels >= 0, not True."),
    ],
)
def test_bad_parameters_are_refused(settings_: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - compared in full below
        Parameters(**settings_)
    assert str(caught.value) == message
