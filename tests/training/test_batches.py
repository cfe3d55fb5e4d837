"""The patches the network learns from."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.segmentation import find_boundaries

from demo.synthetic import generate
from training.annotated import ALLOWED, DataError
from training.batches import Batches, boundaries
from training.manifest import read_manifest
from training.train import main

LABELS = ("", "neoplastic", "inflammatory", "connective", "dead", "epithelial")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    entries = []
    for number, mpp in enumerate((0.25, 0.5)):
        field = generate(320, 300, nuclei=30, seed=number)
        cv2.imwrite(str(tmp_path / f"{number}.png"), field.image[..., ::-1])
        labels = np.array([LABELS[c] for c in field.classes])
        np.savez(tmp_path / f"{number}.npz", instances=field.instance_map, label=labels)
        entries.append(
            {
                "image": f"{number}.png",
                "masks": f"{number}.npz",
                "set": "synthetic",
                "split": "train" if number == 0 else "coarse",
                "group": str(number),
                "tissue": "Colon" if number == 0 else None,
                "mpp": mpp,
            }
        )
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    return tmp_path


def test_reads_a_split(folder: Path) -> None:
    (image,) = read_manifest(folder, "train")

    field = generate(320, 300, nuclei=30, seed=0)
    assert np.array_equal(image.image, field.image)
    assert np.array_equal(image.instances, field.instance_map)
    assert image.allowed.tolist() == [1, *(2 ** field.classes.astype(int)).tolist()]
    assert image.tissue == 5


def test_other_scales_are_resampled(folder: Path) -> None:
    (image,) = read_manifest(folder, "coarse")

    assert image.image.shape == (640, 600, 3)
    assert image.instances.shape == (640, 600)
    assert image.tissue is None


def test_every_label_allows_nuclei_only() -> None:
    assert all(classes and 0 not in classes for classes in ALLOWED.values())
    assert set(ALLOWED["unlabelled"]) == {1, 2, 3, 4, 5}


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


def test_batches_are_reproducible_and_agree(folder: Path) -> None:
    images = read_manifest(folder, "train")

    image, targets = Batches(images, batch_size=4, steps=2, seed=5)[1]
    again, _ = Batches(images, batch_size=4, steps=2, seed=5)[1]
    other, _ = Batches(images, batch_size=4, steps=2, seed=6)[1]

    assert np.array_equal(image, again)
    assert not np.array_equal(image, other)
    assert image.shape == (4, 256, 256, 3)
    assert image.dtype == np.uint8
    nucleus = targets["class_logits"][..., 0] > 1
    assert 0.02 < nucleus.mean() < 0.7
    # Nuclei are darker than what surrounds them: image and labels moved together.
    assert image.mean(-1)[nucleus].mean() < image.mean(-1)[~nucleus].mean() - 15
    assert targets["tissue_logits"][:, 5].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "0.png").unlink(), "0.png is missing or not an image."),
        (lambda f: (f / "0.npz").unlink(), "0.npz is missing or has no 'instances' and 'label'."),
        (
            lambda f: np.savez(f / "0.npz", instances=np.ones((4, 4), int), label=["dead"]),
            "0.npz is (4, 4) but its image is (320, 300).",
        ),
        (
            lambda f: np.savez(f / "0.npz", instances=np.ones((320, 300), int), label=["x"]),
            "0.npz has the label 'x'; known are",
        ),
        (
            lambda f: np.savez(f / "0.npz", instances=np.ones((320, 300), int), label=[]),
            "0.npz has instance 1 but only 0 labels.",
        ),
    ],
)
def test_broken_data_is_named(folder: Path, spoil, message: str) -> None:
    spoil(folder)

    with pytest.raises(DataError) as error:
        read_manifest(folder, "train")

    assert message in str(error.value)


def test_train_without_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == (
        f"train: There is no {tmp_path / 'manifest.json'}: name the folder of a manifest.json.\n"
    )
