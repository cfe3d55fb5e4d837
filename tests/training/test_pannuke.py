"""PanNuke's released arrays as annotated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.pannuke import PanNukeFold, find_folds


def test_folds_are_found_by_number(pannuke: Path) -> None:
    expected = {number: pannuke / f"Fold {number}" for number in (1, 2, 3)}

    assert find_folds(pannuke) == expected
    assert find_folds(pannuke / "Fold 2") == {2: expected[2]}
    assert find_folds(pannuke.parent).keys() >= expected.keys()


def test_a_fold_is_mapped_and_describes_itself(pannuke: Path) -> None:
    fold = PanNukeFold(pannuke / "Fold 2")

    assert isinstance(fold.images, np.memmap)
    assert isinstance(fold.masks, np.memmap)
    assert [e.name for e in fold.entries] == ["fold2/0", "fold2/1", "fold2/2"]
    assert [e.tissue for e in fold.entries] == [3, 5, 1]
    assert {e.shape for e in fold.entries} == {(256, 256)}
    assert len({e.group for e in fold.entries}) == 3


def test_a_patch_is_decoded(pannuke: Path) -> None:
    fold = PanNukeFold(pannuke / "Fold 1")
    patch = fold[0]

    assert patch.image.dtype == np.uint8
    assert np.array_equal(patch.image, fold.images[0])
    assert patch.channels.dtype == np.uint16
    for channel in range(5):
        released = fold.masks[0, ..., channel]
        assert np.array_equal(patch.channels[..., channel] > 0, released > 0)
        ids = np.unique(released[released > 0])
        assert np.array_equal(np.unique(patch.channels[..., channel]), np.arange(len(ids) + 1))


def test_a_later_class_lies_over_an_earlier_one(pannuke: Path) -> None:
    fold = PanNukeFold(pannuke / "Fold 1")
    patch = fold[0]

    over = np.zeros((256, 256), int)
    for channel in range(5):
        over[fold.masks[0, ..., channel] > 0] = channel + 1
    assert (np.count_nonzero(patch.channels, axis=-1) > 1).any()
    assert np.array_equal(patch.allowed[patch.instances], 1 << over)
    assert np.array_equal(np.unique(patch.instances), np.arange(len(patch.allowed)))


def test_a_patch_without_nuclei(pannuke: Path) -> None:
    patch = PanNukeFold(pannuke / "Fold 1")[2]

    assert not patch.instances.any()
    assert patch.allowed.tolist() == [1]
