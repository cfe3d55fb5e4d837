"""A head survives its file, and files that are none are refused with what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from marked_fields import BASE, World, each, own

from tsfd_client.classes.head import Head, OwnClass, load, save
from tsfd_client.errors import OutputError, TsfdError


@pytest.fixture
def head() -> Head:
    rng = np.random.default_rng(0)
    return Head(
        classes=(
            OwnClass("Plasmazelle", (1, 2, 3), "inflammatory"),
            OwnClass("fat", (4, 5, 6)),
            OwnClass("not a nucleus", (7, 8, 9), excluded=True),
        ),
        weights=rng.normal(size=(40, 3)).astype(np.float32),
        mix=rng.normal(size=(5, 3)).astype(np.float32),
        bias=rng.normal(size=3).astype(np.float32),
        network_classes=BASE.classes,
        base=BASE.release,
        weights_sha256=BASE.weights_sha256,
        figures={"before": 0.71, "after": 0.83},
    )


def test_a_head_survives_its_file(head: Head, tmp_path: Path) -> None:
    path = tmp_path / "new" / "my-classes.npz"
    save(head, path)
    same = load(path)

    world = World(3, signal=1)
    marked = world.marked(each(3, 5))
    np.testing.assert_array_equal(
        same.predict(marked.features, marked.shares), head.predict(marked.features, marked.shares)
    )
    for name in ("classes", "network_classes", "base", "weights_sha256", "figures"):
        assert getattr(same, name) == getattr(head, name)
    assert same.excluded.tolist() == [False, False, True]
    assert same.parents.tolist() == [1, -1, -1]


def test_probabilities_add_up_and_follow_the_formula(head: Head) -> None:
    world = World(3, signal=1)
    marked = world.marked(each(3, 5))
    probs = head.predict(marked.features, marked.shares)

    np.testing.assert_allclose(probs.sum(axis=1), 1)
    logits = marked.features @ head.weights + head.bias
    shares = (marked.shares + 1e-3) / 1.005
    logits += np.log(shares) @ head.mix
    logits[:, 0] += np.log(shares[:, 1])
    logits[:, 1:] += np.log(1 / 5)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probs, odds / odds.sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": own(None)}, "2 to 30 classes, not 1"),
        ({"classes": (*own(None, None), OwnClass("class 0", (0, 0, 0)))}, "distinct names"),
        ({"classes": own(None, None, "fat")}, "no class 'fat'"),
        ({"bias": np.zeros(2, np.float32)}, r"bias must be finite float32 \[3\]"),
        ({"weights": np.full((40, 3), np.nan, np.float32)}, "weights must be finite"),
        ({"weights": np.full((40, 3), 1e9, np.float32)}, "weights must be .* within 65504"),
        ({"classes": (OwnClass(5, (1, 2, 3)), *own(None))}, "5.* is no class"),
        ({"classes": (OwnClass("BackGround", (1, 2, 3)), *own(None))}, "BackGround.* is no class"),
        ({"classes": (OwnClass("fat", ("x", 2, 3)), *own(None))}, "'x'.* is no class"),
        ({"classes": (OwnClass("fat", (1, 2)), *own(None))}, "is no class"),
        ({"classes": (OwnClass("fat", (999, 1, 2)), *own(None))}, "999.* is no class"),
    ],
)
def test_a_head_that_cannot_be_served_is_none(head: Head, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(head, **change)


def test_files_that_are_no_head_are_named(head: Head, tmp_path: Path) -> None:
    missing = tmp_path / "none.npz"
    with pytest.raises(TsfdError, match=r"There is no file .*none.npz"):
        load(missing)

    whole = tmp_path / "whole.npz"
    save(head, whole)
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole.read_bytes()[:-200])
    text = tmp_path / "text.npz"
    text.write_text("plasma")
    for path in (cut, text):
        with pytest.raises(TsfdError, match="is damaged, or no file of `tsfd adapt`"):
            load(path)

    network = tmp_path / "lite.npz"
    np.savez(network, preset="lite")
    with pytest.raises(TsfdError, match="holds no classes of your own"):
        load(network)

    arrays = dict(np.load(whole))
    arrays["head"] = np.array(str(arrays["head"]).replace("classes 1", "classes 2"))
    np.savez(tmp_path / "later.npz", **arrays)
    with pytest.raises(TsfdError, match="'tsfd classes 2', which this version cannot read"):
        load(tmp_path / "later.npz")

    arrays = dict(np.load(whole)) | {"bias": np.zeros(9, np.float32)}
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(TsfdError, match="is damaged"):
        load(tmp_path / "other.npz")


def test_a_head_that_cannot_be_written_is_said(head: Head, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        save(head, tmp_path / "file" / "my-classes.npz")
