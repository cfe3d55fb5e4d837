"""Train a network.

    python -m training.train --data DATA --recipe lite --out runs/lite

DATA is a folder with a ``manifest.json``, of which the train split is used (an eighth of its
patients or slides is held back to validate), or PanNuke as released. The run folder receives
``weights.npz`` (the network as it is to be used: the moving average where the recipe keeps one),
``checkpoint.npz`` (everything, to go on with --resume), ``log.csv``, ``curves.png``,
``examples.png``, TensorBoard's files and ``settings.json``. Runs on Keras' TensorFlow and JAX
backends (KERAS_BACKEND=jax), on JAX with every GPU it finds.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import keras

from training import checkpoint, imagenet, weights
from training.annotated import DataError, Dataset, hold_back
from training.batches import Batches
from training.callbacks import (
    Checkpoint,
    Curves,
    Progress,
    SaveWeights,
    Schedule,
    StopOnNaN,
    TrainingError,
    Validate,
)
from training.checkpoint import CheckpointError
from training.losses import LOSSES
from training.manifest import read_manifest
from training.network import build
from training.normalization import BatchNormalization
from training.pannuke import PanNukeFold, find_folds
from training.preprocess import TILE
from training.recipe import Recipe, RecipeError, make_optimizer, read
from training.weights import WeightsError

SEED = 0
_VALIDATION_IMAGES = 256  # of a PanNuke fold of 2,500


def train(
    training: Dataset,
    validation: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    minutes: float | None = None,
    start: Path | None = None,
    resume: bool = False,
) -> None:
    """Train a network and write the run folder `out`.

    Parameters
    ----------
    training, validation
        Images to learn from, and images to score after every epoch (none if there are none).
    recipe
        How.
    minutes
        Train for this long instead of the recipe's epochs.
    start
        Weights file to begin with instead of the recipe's start.
    resume
        Go on from the checkpoint in `out`.

    Raises
    ------
    DataError, WeightsError, ImportError
        If the data, the start or the ImageNet package cannot be read.
    CheckpointError, TrainingError
        If a checkpoint cannot be read or written, `out` holds another run, or the loss is no
        longer a number.
    """
    state = out / "checkpoint.npz"
    if state.exists() and not resume:
        raise TrainingError(
            f"{out} holds a run already: go on with it by --resume, or name another --out."
        )
    if resume and not state.exists():
        raise TrainingError(f"There is no {state} to resume from.")
    out.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(SEED)
    keras.config.set_dtype_policy(recipe.precision)
    _prepare_backend()
    network = _network(recipe, start, resume)
    steps = recipe.steps_per_epoch or _steps_of_one_pass(training, recipe.batch_size)
    network.compile(
        optimizer=make_optimizer(recipe),
        loss=LOSSES[recipe.losses],
        jit_compile=keras.backend.backend() == "jax",
    )
    schedule = Schedule(
        peak=recipe.learning_rate,
        warm_up=recipe.warm_up,
        steps=recipe.epochs * steps,
        minutes=minutes,
    )
    done = 0
    if resume:
        done, schedule.seconds = checkpoint.restore(network, state)
    else:
        (out / "log.csv").unlink(missing_ok=True)
        settings = {"recipe": asdict(recipe), "minutes": minutes, "seed": SEED}
        settings |= {"start": str(start or recipe.start), "backend": keras.backend.backend()}
        settings |= {"training": len(training), "validation": len(validation)}
        (out / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    epochs = recipe.epochs if minutes is None else sys.maxsize
    progress = Progress(
        steps=None if minutes else epochs * steps, steps_per_epoch=steps, schedule=schedule
    )
    held = [validation[i] for i in range(min(len(validation), _VALIDATION_IMAGES))]
    averaged = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]
    try:
        network.fit(
            Batches(
                training,
                batch_size=recipe.batch_size,
                steps=steps,
                seed=SEED,
                augmentation=recipe.augmentation,
                balance_classes=recipe.balance_classes,
                first_epoch=done,
            ),
            initial_epoch=done,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[
                StopOnNaN(steps, state),
                schedule,
                Checkpoint(state, schedule),
                *(averaged if network.optimizer.use_ema else []),
                SaveWeights(recipe.network, out / "weights.npz"),
                *([Validate(held, out / "examples.png")] if held else []),
                keras.callbacks.CSVLogger(out / "log.csv", append=True),
                keras.callbacks.TensorBoard(out / "tensorboard", write_graph=False),
                Curves(out / "log.csv", out / "curves.png"),
                progress,
            ],
        )
    finally:
        progress.close()


def _network(recipe: Recipe, start: Path | None, resume: bool) -> keras.Model:
    if start is not None and not resume:
        network, preset = weights.load(start)
        if preset != recipe.network:
            raise WeightsError(f"{start} is of the {preset} network, not of {recipe.network}.")
    else:
        network = build(recipe.network)
        if recipe.start == "imagenet" and not resume:
            imagenet.initialise(network)
    for layer in network.layers:
        if isinstance(layer, BatchNormalization):
            layer.momentum = recipe.statistics_momentum
    return network


def _steps_of_one_pass(data: Dataset, batch_size: int) -> int:
    pixels = sum(math.prod(entry.shape) for entry in data.entries)
    return math.ceil(pixels / (batch_size * TILE**2))


def _prepare_backend() -> None:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # For this graph TensorFlow's rewrites take a minute and gain nothing.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    elif len(keras.distribution.list_devices()) > 1:
        keras.distribution.set_distribution(keras.distribution.DataParallel())


def load(data: Path, train_folds: list[int], validation_fold: int) -> tuple[Dataset, Dataset]:
    """Images to train on and to validate with, from a manifest's folder or from PanNuke.

    Raises
    ------
    DataError
        If neither is there, or a fold is missing.
    """
    if (data / "manifest.json").is_file():
        return hold_back(read_manifest(data, "train"))
    try:
        folds = find_folds(data)
    except DataError as error:
        raise DataError(f"There is no {data / 'manifest.json'}, and {error}") from error
    missing = {*train_folds, validation_fold} - folds.keys()
    if missing:
        raise DataError(f"{data} has no fold {min(missing)}, only {', '.join(map(str, folds))}.")
    training = Dataset(e for fold in train_folds for e in PanNukeFold(folds[fold]).entries)
    return training, PanNukeFold(folds[validation_fold])


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
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
    parser.add_argument("--recipe", default="lite", help="paper, full, lite or a .toml file")
    parser.add_argument("--out", type=Path, required=True, help="run folder to write")
    parser.add_argument("--minutes", type=float, help="train for this long, whatever the epochs")
    parser.add_argument("--start", type=Path, metavar="FILE", help="weights file to begin with")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    arguments = parser.parse_args(argv)
    try:
        recipe = read(arguments.recipe)
        training, validation = load(
            arguments.data, arguments.train_folds, arguments.validation_fold
        )
        train(
            training,
            validation,
            recipe,
            arguments.out,
            minutes=arguments.minutes,
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
    except KeyboardInterrupt:
        print("train: stopped; --resume goes on from the last epoch.", file=sys.stderr)
        return 130
    print(f"Wrote {arguments.out / 'weights.npz'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
