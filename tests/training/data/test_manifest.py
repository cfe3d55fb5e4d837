"""Data sets listed in a manifest.json, sound and broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from samples.synthetic import generate
from training.data.annotated import DataError
from training.data.manifest import read_manifest
from training.target import CLASSES
from tsfd_client.pixels.resample import Grid, resample

KNOWN_LABELS = (
    "neoplastic, inflammatory, connective, dead, epithelial, epithelial_any, not_neoplastic, "
    "unlabelled, unknown"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images of 120 x 100 pixels: 0.png for training, 1.png at half the scale."""
    entries = []
    for number, (split, mpp) in enumerate((("train", 0.25), ("coarse", 0.5))):
        field = generate(120, 100, nuclei=4, seed=number)
        cv2.imwrite(str(tmp_path / f"{number}.png"), field.image[..., ::-1])
        labels = np.array([CLASSES[c] for c in field.classes])
        np.savez(tmp_path / f"{number}.npz", instances=field.instance_map, label=labels)
        entries.append(
            {
                "image": f"{number}.png",
                "masks": f"{number}.npz",
                "set": "synthetic",
                "split": split,
                "tissue": "Colon" if number == 0 else None,
                "group": f"patient {number}",
                "mpp": mpp,
            }
        )
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    return tmp_path


def test_reads_a_split(folder: Path) -> None:
    data = read_manifest(folder, "train")

    field = generate(120, 100, nuclei=4, seed=0)
    (image,) = data
    assert np.array_equal(image.image, field.image)
    assert np.array_equal(image.instances, field.instance_map)
    assert image.instances.dtype == np.uint16
    assert image.allowed.tolist() == [1, *(1 << field.classes.astype(int)).tolist()]
    assert image.channels is None
    (entry,) = data.entries
    assert (entry.name, entry.source, entry.group) == ("0.png", "synthetic", "patient 0")
    assert (entry.tissue, entry.shape) == (5, (120, 100))


def test_other_scales_are_resampled(folder: Path) -> None:
    (image,) = read_manifest(folder, "coarse")

    assert image.image.shape == (240, 200, 3)
    assert image.instances.shape == (240, 200)
    assert image.tissue is None


def test_masks_may_be_stored_by_columns(folder: Path) -> None:
    (expected,) = read_manifest(folder, "train").entries
    with np.load(folder / "0.npz") as masks:
        by_columns = np.asfortranarray(masks["instances"])
        ignore = np.zeros(by_columns.shape, bool, order="F")
        np.savez(folder / "0.npz", instances=by_columns, label=masks["label"], ignore=ignore)

    (entry,) = read_manifest(folder, "train").entries

    assert entry.checksum == expected.checksum


def test_what_is_read_at_its_own_scale_stays_as_it_is(folder: Path) -> None:
    (image,) = read_manifest(folder, "coarse", 0.5)

    field = generate(120, 100, nuclei=4, seed=1)
    assert np.array_equal(image.image, field.image)
    assert np.array_equal(image.instances, field.instance_map)
    assert image.mpp == 0.5


@pytest.mark.parametrize("mpp", [0.19448, 0.31, 0.5, 0.62])
def test_masks_stay_where_the_image_has_them(folder: Path, mpp: float) -> None:
    discs = np.zeros((120, 100), np.uint8)
    places = [(30, 25), (80, 60)]
    for y, x in places:
        cv2.circle(discs, (x, y), 9, 1, -1)
    instances = cv2.connectedComponents(discs)[1]
    image = np.dstack([255 - 200 * discs] * 3)
    cv2.imwrite(str(folder / "0.png"), image)
    _masks(instances=instances, label=["dead"] * 2, ignore=instances == 2)(folder)
    _entry(mpp=mpp)(folder)

    (read,) = read_manifest(folder, "train")

    assert np.array_equal(read.image, resample(image, mpp, 0.25))  # as the client sends it
    step = Grid(120, 100, mpp, 0.25).step
    for instance, place in enumerate(places, start=1):
        centroid = np.argwhere(read.instances == instance).mean(axis=0) + 0.5
        assert centroid == pytest.approx((np.array(place) + 0.5) / step, abs=0.2)
    assert np.array_equal(read.ignore, read.instances == 2)


def test_of_a_partial_image_only_nuclei_and_a_ring_are_known(folder: Path) -> None:
    instances = np.zeros((120, 100), int)
    instances[50:60, 40:50] = 1
    ignore = np.zeros((120, 100), bool)
    ignore[50, 40:50] = True
    _masks(instances=instances, ignore=ignore)(folder)
    _entry(partial=True)(folder)

    (image,) = read_manifest(folder, "train")

    assert not image.ignore[51:62, 38:52].any(where=instances[51:62, 38:52] > 0)
    assert not image.ignore[[60, 61, 55, 55], [45, 45, 39, 38]].any()  # two pixels around it
    assert image.ignore[[62, 55], [45, 37]].all()
    assert image.ignore[50, 40:50].all()
    assert image.ignore.mean() > 0.97


def _masks(**arrays: object) -> Callable[[Path], None]:
    sound = {"instances": np.ones((120, 100), int), "label": ["dead"]}
    return lambda folder: np.savez(folder / "0.npz", **(sound | arrays))


def _entry(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "manifest.json"
        first, second = json.loads(path.read_text())
        path.write_text(json.dumps([first | changes, second]))

    return spoil


def _without(key: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "manifest.json"
        first, second = json.loads(path.read_text())
        del first[key]
        path.write_text(json.dumps([first, second]))

    return spoil


def _instances(value: object, dtype: type) -> Callable[[Path], None]:
    return _masks(instances=np.full((120, 100), value, dtype))


def _cut_off(folder: Path) -> None:
    jpeg = cv2.imencode(".jpg", cv2.imread(str(folder / "0.png")))[1].tobytes()
    (folder / "0.png").write_bytes(jpeg[: len(jpeg) // 2])


BROKEN = [
    (lambda f: (f / "0.png").unlink(), "{f}/0.png is missing."),
    (lambda f: (f / "0.png").write_text("no"), "{f}/0.png is not an image."),
    (_cut_off, "{f}/0.png is cut off."),
    (
        _entry(image="a" * 300 + ".png"),
        f"{{f}}/{'a' * 300}.png cannot be read: File name too long.",
    ),
    (lambda f: (f / "0.npz").unlink(), "{f}/0.npz is missing."),
    (
        lambda f: (f / "0.npz").write_text("no"),
        "{f}/0.npz is not an npz of plain numbers and text.",
    ),
    (
        lambda f: np.savez(f / "0.npz", instances=np.ones((120, 100), int)),
        "{f}/0.npz is an npz without 'instances' or without 'label'.",
    ),
    (_instances(None, object), "{f}/0.npz is not an npz of plain numbers and text."),
    (
        _instances(True, bool),
        "{f}/0.npz: 'instances' must be numbers [H, W], not bool [120, 100].",
    ),
    (_instances("1", str), "{f}/0.npz: 'instances' must be numbers [H, W], not <U1 [120, 100]."),
    (
        _masks(instances=np.ones((120, 100, 1), int)),
        "{f}/0.npz: 'instances' must be numbers [H, W], not int64 [120, 100, 1].",
    ),
    (_instances(0.5, float), "{f}/0.npz: 'instances' has fractional ids, such as 0.5."),
    (_instances(-1, int), "{f}/0.npz: 'instances' has negative ids, such as -1."),
    (_instances(2, int), "{f}/0.npz: 'instances' has the id 2, but 'label' has length 1."),
    (
        _masks(instances=np.full((120, 100), 65535), label=["dead"] * 65535),
        "{f}/0.npz: 'instances' has the id 65535; the highest possible is 65534.",
    ),
    (
        _masks(instances=np.ones((4, 5), int)),
        "{f}/0.npz has 4 x 5 pixels but its image 0.png 120 x 100.",
    ),
    (
        _masks(ignore=np.ones((120, 100), int)),
        "{f}/0.npz: 'ignore' must be bool [H, W], not int64 [120, 100].",
    ),
    (
        _masks(ignore=np.ones(120, bool)),
        "{f}/0.npz: 'ignore' must be bool [H, W], not bool [120].",
    ),
    (
        _masks(ignore=np.ones((100, 120), bool)),
        "{f}/0.npz: 'ignore' has 100 x 120 pixels but 'instances' 120 x 100.",
    ),
    (
        _entry(partial="yes"),
        "{f}/manifest.json, entry 1: 'partial' must be true or false, not 'yes'.",
    ),
    (_masks(label=["x"]), "{f}/0.npz: the label 'x' is unknown; known are " + KNOWN_LABELS + "."),
    (_masks(label=[1]), "{f}/0.npz: 'label' must be text [n], not int64 [1]."),
    (
        lambda f: (f / "manifest.json").unlink(),
        "There is no {f}/manifest.json: name the folder of a manifest.json.",
    ),
    (
        lambda f: (f / "manifest.json").write_text("["),
        "{f}/manifest.json is not valid JSON: Expecting value: line 1 column 2 (char 1).",
    ),
    (
        lambda f: (f / "manifest.json").write_text("{}"),
        "{f}/manifest.json must be a list with an object for every image.",
    ),
    (
        lambda f: (f / "manifest.json").write_text("[3]"),
        "{f}/manifest.json, entry 1: must be an object, not 3.",
    ),
    (_without("group"), "{f}/manifest.json, entry 1: 'group' is missing."),
    (_entry(group=3), "{f}/manifest.json, entry 1: 'group' must be text, not 3."),
    (
        _entry(mpp=25),
        "{f}/manifest.json, entry 1: 'mpp' must be a number from 0.05 to 2.0 (micrometres per "
        "pixel), not 25.",
    ),
    (
        _entry(mpp="40x"),
        "{f}/manifest.json, entry 1: 'mpp' must be a number from 0.05 to 2.0 (micrometres per "
        "pixel), not '40x'.",
    ),
    (_entry(image="./1.png"), "{f}/manifest.json lists 1.png 2 times."),
    (
        _entry(group="patient 1"),
        "{f}/manifest.json: the group 'patient 1' of the set 'synthetic' is in the splits coarse "
        "and train; a patient or slide belongs in one.",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), BROKEN)
def test_broken_data_is_named(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)

    with pytest.raises(DataError) as error:
        read_manifest(folder, "train")

    assert str(error.value) == message.replace("{f}", str(folder))


def test_ids_without_pixels_are_no_nuclei(folder: Path) -> None:
    with np.load(folder / "0.npz") as masks:
        ids, labels = masks["instances"], masks["label"]
    of_ids = np.insert(labels, 1, "dead")  # id 2 has no pixels, and neither has the last
    of_ids = np.append(of_ids, "dead")
    expected = read_manifest(folder, "train")[0]
    np.savez(folder / "0.npz", instances=np.where(ids > 1, ids + 1, ids), label=of_ids)

    (read,) = read_manifest(folder, "train")

    np.testing.assert_array_equal(read.instances, expected.instances)
    np.testing.assert_array_equal(read.allowed, expected.allowed)


def test_unknown_tissue(folder: Path) -> None:
    _entry(tissue="Brain")(folder)

    with pytest.raises(DataError, match=r"entry 1: the tissue 'Brain' is unknown; known are Adr"):
        read_manifest(folder, "train")


def test_unknown_split(folder: Path) -> None:
    with pytest.raises(DataError) as error:
        read_manifest(folder, "test")

    assert str(error.value) == (
        f"{folder}/manifest.json lists no image of the split 'test'; it has coarse, train."
    )
