"""A network with classes of one's own: as the head was fitted, the rest as the network was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from PIL import Image

from training.exported import file_sha256
from training.quiet import quiet_tensorflow

with quiet_tensorflow():
    import keras

from samples import histology
from samples.synthetic import generate
from serving.environment import ROOT
from training import export
from training.evaluation.detection import pair
from training.evaluation.found_nuclei import find
from training.evaluation.in_process import segment_all
from training.exported import Exported
from training.model import network, weights
from training.model.classes import features
from tsfd_client.classes.features import split
from tsfd_client.classes.head import FLOOR, Head, OwnClass, load, save, softmax
from tsfd_client.classes.logistic import solve
from tsfd_client.classes.marked import MarkedNuclei
from tsfd_client.contract import TILE

NETWORK = ("neoplastic", "inflammatory", "connective", "dead", "epithelial")
LITE = ROOT / "weights" / "lite.npz"
FEATURES = tiny.FEATURES - len(NETWORK)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(2)
    path = tmp_path_factory.mktemp("own") / "tiny.npz"
    weights.save(network.build(tiny.PRESET), tiny.PRESET, path)
    return path


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return generate(TILE, TILE, nuclei=30, seed=4).image[None]


def head(base: Path, classes: tuple[OwnClass, ...], size: float, last: float = 0) -> Path:
    """Write a head of made weights beside the network's; `last` is added to the last class."""
    rng, number = np.random.default_rng(7), len(classes)
    made = Head(
        classes,
        (size * rng.normal(size=(FEATURES, number))).astype(np.float32),
        (size * rng.normal(size=(len(NETWORK), number))).astype(np.float32),
        (size * rng.normal(size=number)).astype(np.float32),
        NETWORK,
        "tiny-0",
        file_sha256(base),
    )
    made.bias[-1] += last
    path = base.with_name(f"{number}-{size}-{last}.npz")
    save(made, path)
    return path


def kind(name: str, parent: str | None, *, excluded: bool = False) -> OwnClass:
    return OwnClass(name, (1, 2, 3), parent, excluded)


def test_a_head_of_zeros_leaves_the_network_as_it_is(base: Path, image: np.ndarray) -> None:
    same, _ = weights.load(head(base, tuple(kind(name, name) for name in NETWORK), 0))
    own, _ = weights.load(base)
    probs = np.asarray(same(image)["class_probs"])[0]
    of_network = np.asarray(keras.ops.softmax(own(image)["class_logits"]))[0]
    np.testing.assert_allclose(probs[..., 0], of_network[..., 0], atol=1e-5)
    # Their shares are computed on the grid of the features.
    np.testing.assert_allclose(probs.mean((0, 1)), of_network.mean((0, 1)), atol=0.02)
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(("kept", "size"), [(False, 0.3), (True, 0.31)])
def test_pixels_have_the_heads_interpolated_logits(
    base: Path, image: np.ndarray, kept: bool, size: float
) -> None:
    last = replace(kind("connective", "connective"), learned=not kept)
    path = head(base, (kind("a", "dead"), kind("b", None), last), size)
    made, _ = weights.load(path)
    grid = np.asarray(keras.Model(made.input, features(made))(image))[0].astype(np.float64)
    logs = grid[..., FEATURES:].reshape(-1, len(NETWORK))
    shares = np.exp(logs) * (1 + FLOOR * len(NETWORK)) - FLOOR
    logits = load(path).logits(grid[..., :FEATURES].reshape(-1, FEATURES), shares)
    expected = softmax(cv2.resize(logits.reshape(*grid.shape[:2], 3), (TILE // 2, TILE // 2)))
    probs = np.asarray(made(image)["class_probs"])[0, ..., 1:]
    found = probs / probs.sum(-1, keepdims=True)
    np.testing.assert_allclose(found[::2, ::2], expected, atol=0.01)
    np.testing.assert_allclose(found[1::2, 1::2], found[::2, ::2], atol=1e-6)


def test_nuclei_are_served_as_the_head_names_them(tmp_path: Path) -> None:
    """In a real image, by a head that was taught the network's classes under other names."""
    Image.open(histology.path()).save(tmp_path / "image.png")
    height, width = np.asarray(Image.open(tmp_path / "image.png")).shape[:2]
    np.savez(tmp_path / "masks.npz", instances=np.zeros((height, width), np.uint16), label=["dead"])
    entry = {"image": "image.png", "masks": "masks.npz", "set": "histology", "group": "one"}
    entry |= {"split": "test", "tissue": None, "mpp": histology.MPP}
    (found,) = find(tmp_path, [entry], LITE, tmp_path / "kept")
    nuclei = split(found.features, len(NETWORK))
    names, labels = np.unique(nuclei.shares.argmax(1), return_inverse=True)
    slides, places = np.full(len(nuclei), "one"), found.centroids
    marked = MarkedNuclei(nuclei.features, nuclei.shares, labels, slides, places)[::2]
    parents = np.roll(names, 1)
    fit = solve(marked, nuclei, parents, (1000.0, 100.0))[-1]
    own = Head(
        tuple(kind(f"own {NETWORK[k]}", NETWORK[k]) for k in parents),
        *(values.astype(np.float32) for values in (fit.weights, fit.mix, fit.bias)),
        NETWORK,
        "lite",
        file_sha256(LITE),
    )
    save(own, tmp_path / "own.npz")
    network, _ = weights.load(tmp_path / "own.npz")
    pixels = np.asarray(Image.open(tmp_path / "image.png"))
    parameters, target = weights.parameters(LITE), weights.target(tmp_path / "own.npz")
    (served,) = segment_all(network, [pixels], parameters, target)

    pairs = pair(found.centroids, served.centroids, radius=1)
    assert len(pairs.truth) >= 0.99 * len(nuclei) > 50
    said = own.predict(nuclei.features, nuclei.shares)
    expected, is_sure = said.argmax(1), said.max(1) > 0.5
    assert (expected == labels).mean() > 0.7
    same = served.classes[pairs.predicted] - 1 == expected[pairs.truth]
    assert same[is_sure[pairs.truth]].all()
    assert same.mean() >= 0.97


@pytest.mark.parametrize(("last", "left"), [(9, 0), (-9, 1)])
def test_what_is_rejected_becomes_background(
    base: Path, image: np.ndarray, last: float, left: float
) -> None:
    """The foreground that is left, where the class is likely, and where it is not."""
    classes = (kind("a", "dead"), kind("b", None), kind("no", None, excluded=True))
    made, _ = weights.load(head(base, classes, 0.3, last))
    probs = np.asarray(made(image)["class_probs"])[0]
    assert probs.shape[-1] == 3
    plain, _ = weights.load(base)
    logits = np.asarray(plain(image)["class_logits"])[0].astype(np.float64)
    foreground = 1 - softmax(logits)[..., 0]
    np.testing.assert_allclose(1 - probs[..., 0], left * foreground, atol=1e-5)


def test_an_export_says_both_files(base: Path, tmp_path: Path) -> None:
    path = head(base, (kind("a", "dead"), kind("b", None)), 0.1)
    assert export.main(["--weights", str(path), "--out", str(tmp_path / "saved")]) == 0
    origin = Exported.read(tmp_path / "saved")
    assert (origin.weights_sha256, origin.classes_sha256) == (file_sha256(base), file_sha256(path))
    assert [c["name"] for c in origin.target["classes"]] == ["a", "b"]
    assert tuple(origin.network_classes) == NETWORK
    assert export.is_current(tmp_path / "saved", path)
    assert not export.is_current(tmp_path / "saved", base)


def test_weights_that_are_not_there(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.npz"
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "dangling.npz").symlink_to(tmp_path / "none")
    path.write_bytes(head(base, (kind("a", "dead"), kind("b", None)), 0.1).read_bytes())
    assert export.main(["--weights", str(path), "--out", str(tmp_path / "saved")]) == 1
    assert "belongs to weights that are neither beside it nor in " in capsys.readouterr().err


def test_a_head_of_other_features_is_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = load(head(base, (kind("a", "dead"), kind("b", None)), 0.2))
    path = base.with_name("few.npz")
    save(replace(made, weights=made.weights[:-3]), path)
    assert export.main(["--weights", str(path), "--out", str(tmp_path / "saved")]) == 1
    error = capsys.readouterr().err
    assert error.endswith(
        f"{path}: the classes were learned from {FEATURES - 3} features, and the network has "
        f"{FEATURES}: make them again with `tsfd adapt`.\n"
    )
    assert error.count("\n") == 1
