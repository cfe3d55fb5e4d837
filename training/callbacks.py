"""Keras callbacks of a training run: checkpoints, validation, progress."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from metrics.panoptic_quality import panoptic_quality
from training import checkpoint
from training.data.annotated import Annotated
from training.data.batches import Batches
from training.evaluation.in_process import segment_all
from training.evaluation.trusted import trusted_instances
from training.model import weights
from training.model.statistics import fit_statistics
from training.pictures import draw_curves, draw_examples

_LOOK = 10  # steps between reads of the loss, each of which waits for the device
_SECONDS_BETWEEN_CHECKPOINTS = 600
_STATISTICS = 8  # batches for the statistics of averaged weights; more make no difference


class TrainingError(Exception):
    """The training cannot go on; the message says why and what has been saved."""


class Stopped(Exception):
    """The process was asked to end; the state of the training is saved."""


class Callbacks(keras.callbacks.CallbackList):
    """A callback list that hands on the logs of each step as the backend's own tensors.

    Keras' own list converts them to numbers, which makes every step wait for the device. As a
    context manager it calls `on_train_end` when training fails; Keras does not, and leaves files
    open.
    """

    _began = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        super().on_train_begin(logs)
        self._began = True

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)

    def __enter__(self) -> Callbacks:
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        if kind and self._began:
            self.on_train_end()


class NextBatches(keras.callbacks.Callback):
    """Tell the batches which epoch begins."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._batches.epoch = epoch


class StopOnNaN(keras.callbacks.Callback):
    """Raise `TrainingError` when the loss is not a number, before anything is saved."""

    def __init__(self, kept: Path) -> None:
        super().__init__()
        self._kept = kept

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # Keras' logs are means since the start of the epoch, so a NaN persists.
        if batch % _LOOK == 0:
            self._check(logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._check(logs)

    def _check(self, logs: dict) -> None:
        loss = float(logs["loss"])
        if math.isfinite(loss):
            return
        kept = f"{self._kept} is unchanged" if self._kept.exists() else "nothing was saved yet"
        raise TrainingError(
            f"The loss is {loss} by step {int(self.model.optimizer.iterations)}; {kept}. Lower the "
            "recipe's learning_rate and begin a new run; --start makes it begin with saved weights."
        )


class Checkpoint(keras.callbacks.Callback):
    """Write the whole state after every epoch, every ten minutes, and when asked to end.

    Must come after `StopOnNaN` and before `MovingAverage`. Within its context, SIGTERM and SIGINT
    end the training after the current step: the state is saved and `Stopped` is raised.

    Parameters
    ----------
    path
        File to replace.
    run
        What the checkpoint belongs to; see `checkpoint.save`.
    """

    def __init__(self, path: Path, run: dict) -> None:
        super().__init__()
        self._path = path
        self._run = run
        self._asked = False
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> Checkpoint:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._asked and kind is None:  # the signal came after the last step
            raise Stopped

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._saved = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        due = time.monotonic() - self._saved > _SECONDS_BETWEEN_CHECKPOINTS
        if (due or self._asked) and math.isfinite(float(logs["loss"])):
            self._save()
        if self._asked:
            raise Stopped

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._save()

    def _save(self) -> None:
        checkpoint.save(self.model, self._run, self._path)
        self._saved = time.monotonic()

    def _ask(self, number: int, frame: object) -> None:
        self._asked = True


class MovingAverage(keras.callbacks.Callback):
    """Put the moving average in place of the weights between epochs and after the last one.

    The batch normalisation gets the statistics that belong to the averaged weights. The next epoch
    starts from exact copies of the learned weights: Keras' ``SwapEMAWeights`` adds and subtracts,
    so rounding would make a resumed training differ from an uninterrupted one.
    """

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self._batches = batches
        self._learned: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        network = self.model
        self._learned = [keras.ops.convert_to_numpy(v.value) for v in network.variables]
        network.optimizer.finalize_variable_values(network.trainable_variables)
        first, steps = epoch * self._batches.steps, min(_STATISTICS, self._batches.steps)
        fit_statistics(network, (self._batches.batch(first + n)[0] for n in range(steps)))

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self._learned:
            for variable, value in zip(self.model.variables, self._learned, strict=True):
                variable.assign(value)


class SaveWeights(keras.callbacks.Callback):
    """Write the weights file after every epoch."""

    def __init__(self, preset: str, path: Path) -> None:
        super().__init__()
        self._preset = preset
        self._path = path

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        weights.save(self.model, self._preset, self._path)


class Validate(keras.callbacks.Callback):
    """Score the validation images after every epoch, and draw some of them.

    Adds ``val_pq``, the mean class-free panoptic quality, to the logs.
    """

    def __init__(self, images: list[Annotated], examples: Path) -> None:
        super().__init__()
        self._images = images
        self._examples = examples

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        pixels = (image.image for image in self._images)
        found = [nuclei.instance_map for nuclei in segment_all(self.model, pixels)]
        scores = [
            panoptic_quality(
                trusted_instances(image.instances, image.ignore),
                trusted_instances(instances, image.ignore),
            ).pq
            for image, instances in zip(self._images, found, strict=True)
        ]
        logs["val_pq"] = float(np.nanmean(scores))
        draw_examples(self._images, found, scores, self._examples)


class Curves(keras.callbacks.Callback):
    """Draw the logged values after every epoch; must come after the ``CSVLogger``."""

    def __init__(self, log: Path, path: Path) -> None:
        super().__init__()
        self._log = log
        self._path = path

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        draw_curves(self._log, self._path)


class Progress(keras.callbacks.Callback):
    """A bar over the whole training, with loss, rate, time left and the last validation's PQ."""

    def __init__(self, *, steps: int, done: int, schedule: Callable) -> None:
        super().__init__()
        self._schedule = schedule
        self._bar = tqdm(total=steps, initial=done, unit="step", smoothing=0.05)
        self._shown: dict[str, str] = {}

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._shown["epoch"] = str(epoch + 1)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if batch % _LOOK == 0:
            self._shown["loss"] = f"{float(logs['loss']):.3f}"
            self._shown["rate"] = f"{float(self._schedule(self._bar.n)):.1e}"
            self._bar.set_postfix(self._shown, refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if "val_pq" in logs:
            self._shown["PQ"] = f"{logs['val_pq']:.3f}"
            self._bar.set_postfix(self._shown)

    def close(self) -> None:
        """Leave the bar as it is and begin a new line."""
        self._bar.close()
