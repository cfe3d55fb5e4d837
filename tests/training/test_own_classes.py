"""A network with classes of one's own: as the head was fitted, the rest as the network was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny

from training.exported import file_sha256
from training.quiet import quiet_tensorflow

with quiet_tensorflow():
    import keras

from samples.synthetic import generate
from training import export
from training.exported import Exported
from training.model import network, weights
from training.model.classes import features
from tsfd_client.classes.head import FLOOR, Head, OwnClass, load, save, softmax
from tsfd_client.contract import TILE

NETWORK = ("neoplastic", "inflammatory", "connective", "dead", "epithelial")
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


def test_shares_on_the_grid_are_the_heads(base: Path, image: np.ndarray) -> None:
    classes = (kind("a", "dead"), kind("b", None), kind("c", "connective"))
    path = head(base, classes, 0.3)
    made, _ = weights.load(path)
    grid = np.asarray(keras.Model(made.input, features(made))(image))[0].astype(np.float64)
    logs = grid[..., FEATURES:].reshape(-1, len(NETWORK))
    shares = np.exp(logs) * (1 + FLOOR * len(NETWORK)) - FLOOR
    expected = load(path).predict(grid[..., :FEATURES].reshape(-1, FEATURES), shares)
    probs = np.asarray(made(image)["class_probs"])[0, 1::4, 1::4, 1:]
    found = (probs / probs.sum(-1, keepdims=True)).reshape(-1, 3)
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.98


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
    path.write_bytes(head(base, (kind("a", "dead"), kind("b", None)), 0.1).read_bytes())
    assert export.main(["--weights", str(path), "--out", str(tmp_path / "saved")]) == 1
    assert "belongs to the weights of the release tiny-0, which are neither" in (
        capsys.readouterr().err
    )


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
