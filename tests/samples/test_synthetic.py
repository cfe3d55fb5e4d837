"""The synthetic field: its truth is consistent and its colours are those of H&E."""

import cv2
import numpy as np
import pytest

from samples.synthetic import SyntheticField, generate


@pytest.fixture(scope="module")
def field() -> SyntheticField:
    return generate(320, 448, nuclei=60, seed=4)


def test_holds_the_nuclei_asked_for(field: SyntheticField) -> None:
    assert field.image.shape == (320, 448, 3)
    assert field.image.dtype == np.uint8
    assert field.instance_map.shape == (320, 448)
    assert field.instance_map.dtype == np.uint16
    assert np.array_equal(np.unique(field.instance_map), np.arange(61))
    assert field.classes.shape == (60,)
    assert set(field.classes.tolist()) <= {1, 2, 3, 5}


def test_nuclei_are_connected_and_of_plausible_size(field: SyntheticField) -> None:
    for instance in range(1, 61):
        mask = (field.instance_map == instance).astype(np.uint8)
        assert cv2.connectedComponents(mask, connectivity=4)[0] == 2
    areas = np.bincount(field.instance_map.ravel())[1:] * 0.25**2
    assert 20 < np.median(areas) < 60  # um^2
    assert areas.max() < 130


def test_some_nuclei_touch(field: SyntheticField) -> None:
    ids = field.instance_map.astype(int)
    left, right = ids[:, :-1], ids[:, 1:]
    assert ((left != right) & (left > 0) & (right > 0)).any()


def test_nuclei_are_blue_stroma_is_pink_and_gaps_are_glass(field: SyntheticField) -> None:
    inside = field.instance_map > 0
    nuclear = field.image[inside].mean(axis=0)
    surrounding = field.image[~inside].mean(axis=0)
    assert (nuclear < surrounding - 25).all()
    assert nuclear[2] > nuclear[0] > nuclear[1]
    assert surrounding[0] > surrounding[2] > surrounding[1]
    assert np.percentile(field.image[~inside].min(axis=1), 99) > 220


def test_the_seed_decides() -> None:
    first, again, other = (generate(96, 128, nuclei=6, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.instance_map, again.instance_map)
    assert not np.array_equal(first.instance_map, other.instance_map)


def test_a_field_may_be_empty() -> None:
    field = generate(64, 64, nuclei=0, seed=0)
    assert not field.instance_map.any()
    assert field.classes.shape == (0,)


def test_impossible_fields_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^A field must be at least 64 x 64 pixels, not 32 x 100\.$"
    ):
        generate(32, 100, nuclei=1, seed=0)
    with pytest.raises(ValueError, match=r"^A field holds 0 to 65,535 nuclei, not -1\.$"):
        generate(64, 64, nuclei=-1, seed=0)
    with pytest.raises(
        ValueError,
        match=r"^A field of 64 x 64 pixels has no room for nucleus \d+: ask for fewer nuclei or "
        r"a larger field\.$",
    ):
        generate(64, 64, nuclei=200, seed=0)
