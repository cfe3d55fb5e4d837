"""Train a network.

    python -m training.train --data DATA --recipe lite --out runs/lite

DATA is PanNuke as released, or a folder with a ``manifest.json``, whose train split is used except
for what `training.data.hold_back` holds back. The run folder receives ``weights.npz`` (the network
to use: the moving average if the recipe keeps one), ``checkpoint.npz`` (the whole state, for
--resume), ``log.csv``, ``curves.png``, ``examples.png``, TensorBoard's files and ``settings.json``.
Runs on Keras' PyTorch backend where that is installed, otherwise on TensorFlow:
KERAS_BACKEND=torch, tensorflow or jax names one. JAX uses every GPU it finds.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import random
import sys
import zlib
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from training import backend  # isort: skip  # noqa: F401, before Keras
import keras

from training import checkpoint
from training.arguments import positive
from training.callbacks import (
    Callbacks,
    Checkpoint,
    Closed,
    Curves,
    MovingAverage,
    NextBatches,
    Progress,
    SaveWeights,
    StopOnNaN,
    TensorBoard,
    TrainingError,
    Validate,
)
from training.checkpoint import CheckpointError
from training.data.annotated import MPP, DataError, Dataset, fingerprints
from training.data.batches import Batches
from training.data.hold_back import hold_back
from training.data.manifest import read_manifest
from training.data.pannuke import PanNukeFold, find_folds
from training.data.rescale import rescaled
from training.losses import LOSSES
from training.model import imagenet, weights
from training.model.network import build
from training.model.normalization import BatchNormalization
from training.model.weights import WeightsError
from training.recipe import Recipe, RecipeError, make_optimizer, make_schedule, read
from training.stopping import STOPPED, Stopped, Stopping, last_words
from tsfd_client.contract import TILE

SEED = 0
_VALIDATION_IMAGES = 256  # of a PanNuke fold of 2,500


def train(
    training: Dataset,
    validation: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    start: Path | None = None,
    resume: bool = False,
) -> None:
    """Train a network and write the run folder `out`.

    Parameters
    ----------
    training, validation
        Images to learn from, and images to score after every epoch (may be empty).
    recipe
        Settings of the training.
    start
        Weights file to begin with instead of the recipe's start.
    resume
        Go on from the checkpoint in `out`. Only `epochs` and `decay` of the recipe may have
        changed.

    Raises
    ------
    DataError, WeightsError, ImportError
        If the data, the start or the ImageNet weights cannot be read.
    CheckpointError, TrainingError
        If a checkpoint cannot be read or written, `out` holds another run, or the loss is no
        longer a number.
    Stopped
        If the process was asked to end; the checkpoint holds what was done.
    """
    state = out / "checkpoint.npz"
    if state.exists() and not resume:
        raise TrainingError(
            f"{out} already holds a run: resume it with --resume, or choose another --out."
        )
    if (out / "weights.npz").exists() and not resume:
        raise TrainingError(f"{out} already holds weights: choose another --out.")
    if resume and not state.exists():
        raise TrainingError(f"There is no {state} to resume from.")
    out.mkdir(parents=True, exist_ok=True)
    try:
        with Stopping(state) as stopping:
            _train(training, validation, recipe, out, start, resume, stopping)
    except Stopped as stopped:
        # Its frames hold TensorFlow's iterator, which complains if it outlives the interpreter.
        stopped.__traceback__ = None
        gc.collect()
        raise


def _train(
    training: Dataset,
    validation: Dataset,
    recipe: Recipe,
    out: Path,
    start: Path | None,
    resume: bool,
    stopping: Stopping,
) -> None:
    state, unclosed = out / "checkpoint.npz", out / "unclosed.json"
    random.seed(SEED)  # Keras draws its own seeds from it
    keras.config.set_dtype_policy(recipe.precision)
    _prepare_backend()
    network = _network(recipe, start, resume)
    steps = recipe.steps_per_epoch or _steps_of_one_pass(training, recipe.batch_size)
    schedule = make_schedule(recipe, steps)
    network.compile(
        optimizer=make_optimizer(recipe, schedule),
        loss=LOSSES[recipe.losses],
        jit_compile=keras.backend.backend() == "jax",
    )
    seed = _seed_of_run(out, start) if resume else _seed(start)
    run = _run(recipe, training, seed)
    if resume:
        done = checkpoint.restore(network, run, state)
        if done > recipe.epochs * steps:
            raise TrainingError(
                f"The run in {out} is past epoch {recipe.epochs}: resume it with --epochs "
                f"{math.ceil(done / steps)} or more."
            )
    else:
        done = 0
        for left in (out / "log.csv", unclosed):
            left.unlink(missing_ok=True)
        settings = {
            "recipe": asdict(recipe),
            "seed": seed,
            "start": str(start or recipe.start),
            "backend": keras.backend.backend(),
            "training": len(training),
            "validation": len(validation),
        }
        (out / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    batches = make_batches(training, recipe, steps, seed)
    data: Batches | Iterable = batches
    if _on_cuda():
        from training.on_cuda import CapturedStep, from_processes

        network.optimizer.build(network.trainable_variables)
        network.train_function = CapturedStep(network)
        data = from_processes(batches)
    _announce()
    held = [validation[i] for i in range(min(len(validation), _VALIDATION_IMAGES))]
    progress = Progress(
        steps=recipe.epochs * steps, done=done, batch_size=recipe.batch_size, schedule=schedule
    )
    averaged = [MovingAverage(batches)] if network.optimizer.use_ema else []

    def closing() -> list[keras.callbacks.Callback]:
        """What an epoch ends with."""
        return [
            *averaged,
            SaveWeights(recipe.network, out / "weights.npz", recipe.target),
            *([Validate(held, out / "examples.png", recipe.target)] if held else []),
            keras.callbacks.CSVLogger(out / "log.csv", append=True),
            Closed(unclosed),
            TensorBoard(out / "tensorboard"),
            Curves(out / "log.csv", out / "curves.png"),
            progress,
        ]

    def close(epoch: int, logs: dict) -> None:
        with Callbacks(closing(), add_history=True, model=network) as every:
            every.on_train_begin()
            every.on_epoch_end(epoch, logs)
            every.on_train_end()

    def fit(begin: int, end: int, *, skipped: int = 0) -> None:
        batches.epoch, batches.skipped = begin, skipped
        callbacks = [
            NextBatches(batches),
            StopOnNaN(state),
            Checkpoint(state, run, stopping, unclosed),
            *closing(),
        ]
        with Callbacks(
            callbacks, add_history=True, model=network, epochs=end, steps=len(batches)
        ) as every:
            network.fit(
                data,
                initial_epoch=begin,
                epochs=end,
                shuffle=False,
                verbose=0,
                callbacks=every,
            )

    epoch, begun = divmod(done, steps)
    try:
        if unclosed.exists() and not begun:
            left = json.loads(unclosed.read_text())
            if left["epoch"] == epoch - 1:
                close(**left)
        if begun:
            # Keras counts an epoch's batches only once, so the rest of an epoch is a fit of its
            # own.
            fit(epoch, epoch + 1, skipped=begun)
            epoch += 1
        if epoch < recipe.epochs:
            fit(epoch, recipe.epochs)
    finally:
        progress.close()


def make_batches(training: Dataset, recipe: Recipe, steps: int, seed: int = SEED) -> Batches:
    """The patches that a recipe draws, `steps` batches in an epoch."""
    return Batches(
        training,
        batch_size=recipe.batch_size,
        steps=steps,
        seed=seed,
        augmentation=recipe.augmentation,
        balance_classes=recipe.balance_classes,
    )


def _check_start(recipe: Recipe) -> None:
    if recipe.start == "weights":
        raise RecipeError(
            "This recipe goes on from trained weights: name them with --start (make train "
            "START=file)."
        )
    if recipe.start == "imagenet":
        imagenet.find(recipe.network)


def _seed(start: Path | None) -> int:
    # A run that goes on from another's weights learns from other patches than that one did.
    return zlib.crc32(start.read_bytes()) if start else SEED


def _seed_of_run(out: Path, start: Path | None) -> int:
    settings = out / "settings.json"
    try:
        began = json.loads(settings.read_text())
        seed, began_from = began["seed"], began["start"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{settings} is missing or damaged, so the run cannot be resumed: begin another with "
            f"--start {out / 'weights.npz'}."
        ) from error
    if start is not None and _seed(start) != seed:
        raise TrainingError(f"The run in {out} began from {began_from}, not from {start}.")
    return seed


def _run(recipe: Recipe, training: Dataset, seed: int) -> dict:
    """What identifies a run: all that determines its outcome except its length."""
    kept = {key: value for key, value in asdict(recipe).items() if key not in ("epochs", "decay")}
    return {"recipe": kept, "data": fingerprints(training), "": {"seed": seed}}


def _network(recipe: Recipe, start: Path | None, resume: bool) -> keras.Model:
    if start is not None and not resume:
        weights.check_classes(start)
        network, preset = weights.load(start)
        if preset != recipe.network:
            raise WeightsError(f"{start} is for the {preset} network, not for {recipe.network}.")
    else:
        network = build(recipe.network)
        if recipe.start == "imagenet" and not resume:
            imagenet.initialise(network, recipe.network)
    for layer in network.layers:
        if isinstance(layer, BatchNormalization):
            layer.momentum = recipe.statistics_momentum
    return network


def _steps_of_one_pass(data: Dataset, batch_size: int) -> int:
    pixels = sum(math.prod(entry.shape) for entry in data.entries)
    return math.ceil(pixels / (batch_size * TILE**2))


def _announce() -> None:
    """Say what will take minutes before the first step."""
    if keras.backend.backend() == "tensorflow":
        print(
            "Compiling the network for TensorFlow: about five minutes on two cores, then the first "
            "step is done. On PyTorch it takes seconds: pip install torch."
        )
    elif keras.backend.backend() == "jax":
        print("Compiling the network for JAX takes minutes, then the first step is done.")
    sys.stdout.flush()


def _on_cuda() -> bool:
    if keras.backend.backend() != "torch":
        return False
    import torch

    return torch.cuda.is_available()


def _prepare_backend() -> None:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # For this graph TensorFlow's rewrites take a minute and gain nothing.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    elif keras.backend.backend() == "jax" and len(keras.distribution.list_devices()) > 1:
        keras.distribution.set_distribution(keras.distribution.DataParallel())


def load(
    data: Path, train_folds: list[int], validation_fold: int, mpp: float = MPP
) -> tuple[Dataset, Dataset]:
    """Images to train on and to validate with, at `mpp`; a manifest's or PanNuke's.

    Raises
    ------
    DataError
        If neither is there, or a fold is missing.
    """
    if (data / "manifest.json").is_file():
        split = hold_back(read_manifest(data, "train", mpp))
        if not len(split.training):
            raise DataError(f"No image of {data} is left to train on: all are held back.")
        return split.training, split.choosing
    try:
        folds = find_folds(data)
    except DataError as error:
        raise DataError(f"There is no {data / 'manifest.json'}, and {error}") from error
    missing = {*train_folds, validation_fold} - folds.keys()
    if missing:
        raise DataError(f"{data} has no fold {min(missing)}, only {', '.join(map(str, folds))}.")
    training = Dataset(e for fold in train_folds for e in PanNukeFold(folds[fold]).entries)
    return rescaled(training, mpp), rescaled(PanNukeFold(folds[validation_fold]), mpp)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="manifest's folder, or PanNuke")
    parser.add_argument(
        "--train-folds", type=int, nargs="+", default=[1], metavar="N", help="of PanNuke"
    )
    parser.add_argument("--validation-fold", type=int, default=2, metavar="N", help="of PanNuke")
    parser.add_argument(
        "--recipe", default="lite", help="a name in training/recipes, or a .toml file"
    )
    parser.add_argument("--out", type=Path, required=True, help="run folder to write")
    parser.add_argument(
        "--epochs",
        type=positive,
        metavar="N",
        help="end here instead of where the recipe says; a run that resumes may end elsewhere",
    )
    parser.add_argument("--start", type=Path, metavar="FILE", help="weights file to begin with")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    arguments = parser.parse_args(argv)
    try:
        recipe = read(arguments.recipe)
        if arguments.epochs is not None:
            recipe = replace(recipe, epochs=arguments.epochs)
        if not arguments.start and not arguments.resume:
            _check_start(recipe)  # before minutes are spent on the data
        training, validation = load(
            arguments.data, arguments.train_folds, arguments.validation_fold, recipe.mpp
        )
        train(
            training,
            validation,
            recipe,
            arguments.out,
            start=arguments.start,
            resume=arguments.resume,
        )
    except (
        RecipeError,
        DataError,
        WeightsError,
        CheckpointError,
        TrainingError,
        ImportError,
        OSError,
    ) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Stopped):
        print(f"train: {last_words(arguments.out / 'checkpoint.npz')}", file=sys.stderr)
        return STOPPED
    print(f"Wrote {arguments.out / 'weights.npz'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
