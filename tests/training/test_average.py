"""The mean of runs."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tiny
from fields import write_manifest

from training import average
from training.model import weights
from training.model.network import build
from training.model.statistics import fit_statistics
from training.recipe import read
from training.train import load, make_batches


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        found.append(tmp_path / f"{seed}.npz")
        weights.save(build(tiny.PRESET), tiny.PRESET, found[-1])
    return found


def test_kernels_are_averaged_and_statistics_fitted_to_them(
    files: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(average, "_BATCHES", 2)
    data = tmp_path / "data"
    data.mkdir()
    write_manifest(data, [(300, 300)] * 2, split="train")
    recipe, out = tmp_path / "tiny.toml", tmp_path / "mean.npz"
    recipe.write_text(tiny.RECIPE)
    command = [*("--data", str(data)), *("--recipe", str(recipe)), *("--out", str(out))]

    assert average.main([*command, "--weights", *map(str, files), "--shares", "1", "3"]) == 0

    assert capsys.readouterr().out == f"Wrote {out}: calibrate it, then tune it.\n"
    one, three, mean = (weights.load(path)[0] for path in (*files, out))
    for a, b, c in zip(*(n.trainable_variables for n in (one, three, mean)), strict=True):
        expected = (np.array(a.value) + 3 * np.array(b.value)) / 4
        np.testing.assert_allclose(np.array(c.value), expected, atol=1e-3)  # half precision
    training, _ = load(data, [1], 2)
    batches = make_batches(training, read(str(recipe)), 2)
    stem = mean.get_layer("stem_bn")  # before the first dropout
    fitted = [stem.moving_mean, stem.moving_variance]
    before = [np.array(v.value) for v in fitted]
    fit_statistics(mean, [batches.batch(number)[0] for number in range(2)])
    for old, variable in zip(before, fitted, strict=True):
        np.testing.assert_allclose(np.array(variable.value), old, rtol=0.02, atol=1e-3)


def test_what_cannot_be_averaged_is_named(
    files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.npz"
    target = read("lite-20x").target
    weights.save(build(tiny.PRESET), tiny.PRESET, other, target)
    command = ["--data", str(tmp_path), "--out", str(tmp_path / "mean.npz"), "--weights"]

    assert average.main([*command, str(files[0]), str(other)]) == 1
    assert capsys.readouterr().err == (
        f"average: {other} is not of the same network and target as {files[0]}.\n"
    )
    for wrong, sentence in (
        ([*map(str, files), "--shares", "1"], "--shares takes a number above 0 for each file"),
        ([*map(str, files), "--shares", "1", "nan"], "--shares takes a number above 0"),
        ([str(files[0])], "--weights takes at least two files"),
        ([*map(str, files), "--out", str(tmp_path)], "--out names a file, and "),
    ):
        with pytest.raises(SystemExit):
            average.main([*command, *wrong])
        assert sentence in capsys.readouterr().err
