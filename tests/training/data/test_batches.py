"""The patches the network learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.segmentation import find_boundaries

from samples.synthetic import generate
from training.data.annotated import Annotated, Dataset, Entry
from training.data.augment import AUGMENTATIONS
from training.data.batches import Batches, area_weights, boundaries, class_weights
from training.data.pannuke import PanNukeFold
from training.losses import ANYTHING, NO_BOUNDARY


def test_boundaries_are_those_of_scikit_image() -> None:
    instances = np.zeros((64, 64), np.uint16)
    instances[10:20, 10:20], instances[20:30, 10:20], instances[40:50, 40:50] = 1, 2, 3

    expected = find_boundaries(instances, connectivity=1, mode="thick")

    outlines = boundaries(instances)
    assert np.array_equal(outlines > 0, expected)
    # Rows 19 and 20 are where 1 and 2 touch; 3 stands alone.
    assert (outlines[19:21, 12:18] == 2).all()
    assert (outlines[35:] < 2).all()


def test_a_nucleus_that_the_patch_cuts_is_closed() -> None:
    instances = np.zeros((64, 64), np.uint16)
    instances[:10, 10:20] = 1

    assert boundaries(instances)[:2, 10:20].all()
    assert not boundaries(instances)[3:8, 12:18].any()


@pytest.fixture(scope="module")
def mixed(pannuke: Path) -> Dataset:
    """A field of 320 x 300 pixels without a tissue, and a fold of PanNuke."""
    field = generate(320, 300, nuclei=30, seed=0)
    image = Annotated(
        image=field.image,
        instances=field.instance_map,
        allowed=np.concatenate([[1], 1 << field.classes]).astype(np.uint8),
        tissue=None,
        source="synthetic",
        group="a",
        name="a.png",
    )
    entry = Entry("a.png", "synthetic", "a", None, (320, 300), lambda: image)
    return Dataset([entry]) + PanNukeFold(pannuke / "Fold 1")


def _batches(data: Dataset, *, seed: int = 5, **options: object) -> Batches:
    return Batches(data, batch_size=8, steps=2, seed=seed, augmentation="strong", **options)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_image_and_labels_move_together(mixed: Dataset, augmentation: str) -> None:
    image, targets = Batches(mixed, batch_size=8, steps=2, seed=5, augmentation=augmentation)[1]

    assert image.shape == (8, 256, 256, 3)
    assert image.dtype == np.uint8
    nucleus = targets["class_logits"][..., 0] > 1
    assert 0.02 < nucleus.mean() < 0.7
    # Nuclei are darker than what surrounds them.
    assert image.mean(-1)[nucleus].mean() < image.mean(-1)[~nucleus].mean() - 15
    assert set(targets["tissue_logits"].sum(-1)) == {0, 1}


def test_a_batch_depends_on_seed_epoch_and_place(mixed: Dataset) -> None:
    image, targets = _batches(mixed)[1]
    again, same = _batches(mixed)[1]

    assert np.array_equal(image, again)
    assert all(np.array_equal(targets[name], same[name]) for name in targets)
    assert not np.array_equal(image, _batches(mixed)[0][0])
    assert not np.array_equal(image, _batches(mixed, seed=6)[1][0])


def test_batches_go_on_from_any_step(mixed: Dataset) -> None:
    uninterrupted = _batches(mixed)
    expected = [uninterrupted[i][0] for i in range(len(uninterrupted))]
    uninterrupted.epoch = 1
    expected += [uninterrupted[i][0] for i in range(len(uninterrupted))]
    assert not np.array_equal(expected[0], expected[len(uninterrupted)])

    resumed = _batches(mixed)
    resumed.skipped = 1
    found = [resumed[i][0] for i in range(len(resumed))]
    resumed.epoch, resumed.skipped = 1, 0
    found += [resumed[i][0] for i in range(len(resumed))]

    np.testing.assert_array_equal(found, expected[1:])


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_what_is_left_out_moves_with_the_image(augmentation: str) -> None:
    # The left half is unknown, and grey; the right half is one nucleus, and black.
    right = np.zeros((400, 400), bool)
    right[:, 200:] = True
    image = Annotated(
        image=np.where(right[..., None], 0, 160).repeat(3, axis=-1).astype(np.uint8),
        instances=right.astype(np.uint16),
        allowed=np.array([1, 2], np.uint8),
        tissue=None,
        source="made",
        group="a",
        name="a",
        ignore=~right,
    )
    data = Dataset([Entry("a", "made", "a", None, (400, 400), lambda: image)])

    pixels, targets = Batches(data, batch_size=8, steps=1, seed=1, augmentation=augmentation)[0]

    classes, outlines = (targets[f"{head}_logits"][..., 0] for head in ("class", "boundary"))
    for row in np.flatnonzero((classes == 2).any(axis=(1, 2))):  # others are of bare glass
        assert set(np.unique(classes[row])) <= {2, ANYTHING}
        assert np.array_equal(classes[row] == ANYTHING, outlines[row] == NO_BOUNDARY)
        unknown = classes[row] == ANYTHING
        if unknown.any():
            assert pixels[row][unknown].mean() > pixels[row][~unknown].mean() + 40
    assert (classes == ANYTHING).any()


def test_sets_are_drawn_by_what_was_scanned() -> None:
    entries = [
        Entry("a", "fine", "a", None, (256, 256), lambda: None),
        Entry("b", "coarse", "b", None, (512, 512), lambda: None, mpp=0.5),
        *(Entry(str(n), "large", str(n), None, (256, 256), lambda: None) for n in range(4)),
    ]

    weights = area_weights(Dataset(entries))

    np.testing.assert_allclose(weights / weights[0], [1, 1, 0.5, 0.5, 0.5, 0.5])


def test_a_guessed_border_weighs_no_more_than_an_outline() -> None:
    instances = np.zeros((20, 30), np.uint16)
    instances[5:15, 5:12], instances[5:15, 12:19], instances[5:15, 19:26] = 1, 2, 3

    found = boundaries(instances, guessed=np.array([False, False, True, True]))

    assert found[8:12, 11:13].tolist() == [[2, 2]] * 4
    assert found[8:12, 18:20].tolist() == [[1, 1]] * 4
    assert ((found > 0) == (boundaries(instances) > 0)).all()


def test_rare_classes_weigh_more() -> None:
    # Images that hold class 1: four; class 2: one. A set of classes says nothing about either.
    held = ([2], [2, 4], [2], [2], [2 + 4], [])
    images = [
        Annotated(
            image=np.zeros((8, 8, 3), np.uint8),
            instances=np.zeros((8, 8), np.uint16),
            allowed=np.array([1, *allowed], np.uint8),
            tissue=None,
            source="made",
            group=str(number),
            name=str(number),
        )
        for number, allowed in enumerate(held)
    ]
    data = Dataset(
        Entry(i.name, i.source, i.group, None, (8, 8), lambda image=i: image) for i in images
    )

    assert class_weights(data).tolist() == [1, 2, 1, 1, 1, 1]


def test_class_balance_changes_what_is_drawn(mixed: Dataset) -> None:
    image, _ = _batches(mixed, balance_classes=True)[0]

    assert not np.array_equal(image, _batches(mixed)[0][0])
