"""PanNuke's released arrays as annotated images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from training.data.annotated import DataError
from training.data.pannuke import PanNukeFold, find_folds


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


def test_a_broken_fold_is_refused(pannuke: Path, tmp_path: Path) -> None:
    shutil.copytree(pannuke / "Fold 1" / "images", tmp_path / "fold_1" / "images")

    with pytest.raises(DataError) as error:
        PanNukeFold(tmp_path / "fold_1")

    assert str(error.value) == f"masks.npy is missing in {tmp_path}/fold_1/masks."


def test_a_broken_patch_is_refused(pannuke: Path, tmp_path: Path) -> None:
    shutil.copytree(pannuke / "Fold 1", tmp_path / "Fold 1")
    path = tmp_path / "Fold 1/masks/fold1/masks.npy"
    masks = np.load(path)
    masks[1, 0, 0, 0] = 0.5
    np.save(path, masks)
    fold = PanNukeFold(tmp_path / "Fold 1")

    assert fold[0].instances.any()
    with pytest.raises(DataError) as error:
        fold[1]

    assert str(error.value) == (
        f"{path}, patch 1: the neoplastic channel has fractional ids, such as 0.5."
    )


def test_two_copies_of_a_fold(tmp_path: Path) -> None:
    for name in ("a/Fold 3", "b/fold3"):
        (tmp_path / name / "images").mkdir(parents=True)

    with pytest.raises(DataError) as error:
        find_folds(tmp_path)

    assert str(error.value) == (
        f"Fold 3 lies in {tmp_path}/a/Fold 3 and in {tmp_path}/b/fold3: remove one."
    )


def test_no_fold(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        find_folds(tmp_path)

    assert str(error.value) == (
        f"{tmp_path} holds no fold of PanNuke: expected Fold 1/images/fold1/images.npy and so on."
    )
