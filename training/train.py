"""Train a network on a folder with a manifest.

    python -m training.train --data DATA --preset lite --minutes 60 --out runs/lite

Writes ``weights.npz`` (the moving average of the weights, after every 100 steps and at the end),
``log.csv`` and ``settings.json`` to the run folder. Trains until the time is up: the learning rate
follows a cosine over the minutes given. Runs on Keras' TensorFlow and JAX backends.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import keras

from training import imagenet, weights
from training.annotated import DataError, hold_back
from training.batches import Batches
from training.losses import boundary_loss, class_loss, tissue_loss
from training.manifest import read_manifest
from training.network import PRESETS, build

_WARM_UP = 0.04
_EMA = 0.99
_STATISTICS = 0.95
_STEPS_PER_EPOCH = 100
_CLIP_NORM = 2.0
_WEIGHT_DECAY = 1e-4


class Schedule(keras.callbacks.Callback):
    """Linear warm-up and cosine decay over wall-clock time; stops when the time is up."""

    def __init__(self, *, peak: float, minutes: float) -> None:
        super().__init__()
        self._peak = peak
        self._seconds = 60 * minutes
        self._started: float | None = None

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        if self._started is None:
            self._started = time.monotonic()
        done = min(1.0, (time.monotonic() - self._started) / self._seconds)
        warm = min(1.0, (done + 1e-4) / _WARM_UP)
        self.model.optimizer.learning_rate.assign(
            self._peak * warm * max(0.01, 0.5 + 0.5 * math.cos(math.pi * done))
        )
        if done >= 1:
            self.model.stop_training = True

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # The first step compiles for minutes; the time given is time to train.
        if self._started is not None and batch == 0 and self.model.optimizer.iterations == 1:
            self._started = time.monotonic()


class SaveAverage(keras.callbacks.Callback):
    """Write the moving average of the weights after every epoch."""

    def __init__(self, preset: str, path: Path) -> None:
        super().__init__()
        self._preset = preset
        self._path = path

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        weights.save(self.model, self._preset, self._path)


def train(
    data: Path,
    *,
    preset: str,
    out: Path,
    minutes: float,
    batch_size: int,
    learning_rate: float,
    start: Path | None,
    seed: int = 0,
) -> None:
    """Train `preset` on the train split of `data` and write the run folder `out`.

    Parameters
    ----------
    start
        Weights file to go on from; without one the lite preset's backbone starts from ImageNet
        and the paper's from nothing.

    Raises
    ------
    DataError, weights.WeightsError, ImportError
        If the data, the start or the ImageNet package cannot be read.
    """
    keras.utils.set_random_seed(seed)
    _configure_tensorflow()
    images, _ = hold_back(read_manifest(data, "train"))
    if start is not None:
        network, preset = weights.load(start)
    else:
        network = build(preset)
        if preset == "lite":
            imagenet.initialise(network)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _STATISTICS  # Keras' 0.99 lags behind a training of minutes
    network.compile(
        optimizer=keras.optimizers.AdamW(
            learning_rate,
            weight_decay=_WEIGHT_DECAY,
            clipnorm=_CLIP_NORM,
            use_ema=True,
            ema_momentum=_EMA,
        ),
        loss={
            "class_logits": class_loss,
            "boundary_logits": boundary_loss,
            "tissue_logits": tissue_loss,
        },
        jit_compile=keras.backend.backend() == "jax",
    )
    out.mkdir(parents=True, exist_ok=True)
    settings = {
        "data": data.name,
        "preset": preset,
        "minutes": minutes,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "start": str(start) if start else ("imagenet" if preset == "lite" else "random"),
        "seed": seed,
        "backend": keras.backend.backend(),
    }
    (out / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    network.fit(
        Batches(images, batch_size=batch_size, steps=_STEPS_PER_EPOCH, seed=seed),
        epochs=10**6,
        shuffle=False,
        verbose=2,
        callbacks=[
            Schedule(peak=learning_rate, minutes=minutes),
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            SaveAverage(preset, out / "weights.npz"),
            keras.callbacks.CSVLogger(out / "log.csv"),
        ],
    )


def _configure_tensorflow() -> None:
    """Skip TensorFlow's graph rewrites: for this graph they take a minute and gain nothing."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with a manifest.json")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="lite")
    parser.add_argument("--out", type=Path, required=True, help="run folder to write")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--start", type=Path, help="weights file to go on from")
    arguments = parser.parse_args(argv)
    try:
        train(
            arguments.data,
            preset=arguments.preset,
            out=arguments.out,
            minutes=arguments.minutes,
            batch_size=arguments.batch_size,
            learning_rate=arguments.learning_rate,
            start=arguments.start,
        )
    except (DataError, weights.WeightsError, ImportError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    print(f"Wrote {arguments.out / 'weights.npz'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
