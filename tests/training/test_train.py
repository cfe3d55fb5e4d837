"""Whole trainings, of a few steps, without compiling: what they leave behind and how they end."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from training import checkpoint
from training.recipe import FOLDER
from training.train import main

EAGER = "import sys, tensorflow; tensorflow.config.run_functions_eagerly(True)\n"


@pytest.fixture(scope="module", autouse=True)
def _eager() -> Iterator[None]:
    # Compiling one step takes TensorFlow minutes; running a few without takes seconds.
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "short.toml"
    text = (FOLDER / "lite.toml").read_text().replace('"imagenet"', '"random"')
    for old, new in (("epochs = 40", "epochs = 2"), ("= 100 ", "= 1 "), ("size = 8", "size = 2")):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def run(pannuke: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that came to its end."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(_arguments(pannuke, recipe, out)) == 0
    return out


def _arguments(pannuke: Path, recipe: Path, out: Path, *more: str) -> list[str]:
    return ["--data", str(pannuke), "--recipe", str(recipe), "--out", str(out), *more]


def _weights(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "weights.npz") as file:
        return {name: file[name] for name in file.files}


def test_a_killed_run_resumes_to_the_weights_of_an_uninterrupted_one(
    run: Path, pannuke: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    program = EAGER + "from training.train import main; main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", program, *_arguments(pannuke, recipe, out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while not (out / "curves.png").exists() and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert len(_log(out)) == 1
    assert main(_arguments(pannuke, recipe, out, "--resume")) == 0

    expected, found = _weights(run), _weights(out)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert [row["epoch"] for row in _log(out)] == ["0", "1"]


def _log(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_its_log_its_pictures_and_its_settings(run: Path) -> None:
    assert [row["epoch"] for row in _log(run)] == ["0", "1"]
    assert all(0 <= float(row["val_pq"]) <= 1 for row in _log(run))
    for picture in ("curves.png", "examples.png"):
        assert cv2.imread(str(run / picture)).std() > 1
    assert list((run / "tensorboard").rglob("events.*"))
    settings = json.loads((run / "settings.json").read_text())
    assert (settings["training"], settings["validation"]) == (3, 3)


def test_a_run_is_not_overwritten(
    run: Path, pannuke: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(pannuke, recipe, run)) == 1

    assert capsys.readouterr().err == (
        f"train: {run} holds a run already: go on with it by --resume, or name another --out.\n"
    )


def test_a_loss_that_is_not_a_number_ends_the_run(
    pannuke: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steep = tmp_path / "steep.toml"
    steep.write_text(recipe.read_text().replace("clipnorm = 2.0", "").replace("2e-3", "1e30"))

    assert main(_arguments(pannuke, steep, tmp_path / "run")) == 1

    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("train: The loss is nan at step ")
    assert message.endswith("Lower the recipe's learning_rate and go on from there with --resume.")


def test_a_full_disk_loses_no_earlier_checkpoint(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    network = keras.Model(inputs, keras.layers.Dense(100_000)(inputs))
    network.compile(optimizer="adam", loss="mse")
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(network, 3, 1.5, path)
    before = path.read_bytes()

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(checkpoint.CheckpointError, match=r"Cannot write .* is still there"):
            checkpoint.save(network, 4, 2.5, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.npz"]
    assert checkpoint.restore(network, path) == (3, 1.5)


def test_a_folder_without_data_is_named(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(tmp_path, recipe, tmp_path / "run")) == 1

    assert capsys.readouterr().err == (
        f"train: There is no {tmp_path}/manifest.json, and {tmp_path} holds no fold of PanNuke: "
        "expected Fold 1/images/fold1/images.npy and so on.\n"
    )
    assert not (tmp_path / "run").exists()


def test_resuming_needs_no_imagenet_package(
    run: Path, pannuke: Path, recipe: Path, tmp_path: Path
) -> None:
    longer = tmp_path / "longer.toml"
    text = recipe.read_text().replace('"random"', '"imagenet"')
    longer.write_text(text.replace("epochs = 2", "epochs = 3"))
    out = tmp_path / "run"
    shutil.copytree(run, out)

    assert main(_arguments(pannuke, longer, out, "--resume")) == 0
    assert [row["epoch"] for row in _log(out)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--train-folds", "7"), "{data} has no fold 7, only 1, 2, 3."),
        (("--resume",), "There is no {out}/checkpoint.npz to resume from."),
        (("--start", "none.npz"), "There is no weights file none.npz."),
    ],
)
def test_what_is_missing_is_named(
    pannuke: Path,
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    sentence: str,
) -> None:
    out = tmp_path / "run"

    assert main(_arguments(pannuke, recipe, out, *more)) == 1

    expected = sentence.format(data=pannuke, out=out)
    assert capsys.readouterr().err.splitlines()[-1] == f"train: {expected}"
