"""Keras callbacks of a training run: checkpoints, validation, progress."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
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
from training.stopping import Stopped, Stopping
from training.target import Target

_LOOK = 10  # steps between reads of the loss, each of which waits for the device
_SECONDS_BETWEEN_CHECKPOINTS = 600
_STATISTICS = 8  # batches for the statistics of averaged weights; more make no difference


class TrainingError(Exception):
    """The training cannot go on; the message says why and what has been saved."""


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

    Must come after `StopOnNaN` and before `MovingAverage`.

    Parameters
    ----------
    path
        File to replace.
    run
        What the checkpoint belongs to; see `checkpoint.save`.
    stopping
        Who hears that the training is to end.
    closing
        File to write with the epoch's logs, for `Closed`.
    """

    def __init__(self, path: Path, run: dict, stopping: Stopping, closing: Path) -> None:
        super().__init__()
        self._path = path
        self._run = run
        self._stopping = stopping
        self._closing = closing

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._saved = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._stopping.unsaved = True
        due = time.monotonic() - self._saved > _SECONDS_BETWEEN_CHECKPOINTS
        if (due or self._stopping.asked) and math.isfinite(float(logs["loss"])):
            self._save()
        if self._stopping.asked:
            raise Stopped

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        numbers = {name: float(value) for name, value in logs.items()}
        partial = self._closing.with_suffix(".partial.json")
        partial.write_text(json.dumps({"epoch": epoch, "logs": numbers}))
        partial.replace(self._closing)
        self._save()
        if self._stopping.asked:
            raise Stopped

    def _save(self) -> None:
        checkpoint.save(self.model, self._run, self._path)
        self._saved = time.monotonic()
        self._stopping.unsaved = False


class Closed(keras.callbacks.Callback):
    """The last callback: whatever an epoch ends with is done.

    Until then the file that `Checkpoint` wrote stays, and a training that goes on begins with it.
    """

    def __init__(self, closing: Path) -> None:
        super().__init__()
        self._closing = closing

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._closing.unlink(missing_ok=True)


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

    def __init__(self, preset: str, path: Path, target: Target) -> None:
        super().__init__()
        self._preset = preset
        self._path = path
        self._target = target

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        weights.save(self.model, self._preset, self._path, self._target)


class Validate(keras.callbacks.Callback):
    """Score the validation images after every epoch, and draw some of them.

    Adds ``val_pq``, the mean class-free panoptic quality, to the logs.
    """

    def __init__(self, images: list[Annotated], examples: Path, target: Target) -> None:
        super().__init__()
        self._images = images
        self._examples = examples
        self._target = target

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        pixels = (image.image for image in self._images)
        target = self._target
        segmented = segment_all(
            self.model, pixels, weights.defaults(target), target=target, mpp=target.mpp
        )
        found = [nuclei.instance_map for nuclei in segmented]
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


class TensorBoard(keras.callbacks.Callback):
    """Loss and scores of every epoch, for TensorBoard. Keras' own needs TensorFlow."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"events.out.tfevents.{time.time_ns()}"

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._writer = RecordWriter(self._path.open("ab"))
        self._write(file_version="brain.Event:2")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        values = [
            Summary.Value(tag=f"epoch_{name}", simple_value=value) for name, value in logs.items()
        ]
        self._write(step=epoch, summary=Summary(value=values))

    def on_train_end(self, logs: dict | None = None) -> None:
        self._writer.close()

    def _write(self, **event: object) -> None:
        self._writer.write(Event(wall_time=time.time(), **event).SerializeToString())
        self._writer.flush()


class Progress(keras.callbacks.Callback):
    """A bar over the whole training: patches per second, time left, loss and last PQ."""

    def __init__(self, *, steps: int, done: int, batch_size: int, schedule: Callable) -> None:
        super().__init__()
        self._schedule = schedule
        self._batch_size = batch_size
        self._step = done
        self._bar = tqdm(
            total=steps * batch_size,
            initial=done * batch_size,
            unit=" patches",
            smoothing=0.05,
        )
        self._shown: dict[str, str] = {}
        self._first = True

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._shown["epoch"] = str(epoch + 1)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if batch % _LOOK == 0:
            self._shown["loss"] = f"{float(logs['loss']):.3f}"
            self._shown["rate"] = f"{float(self._schedule(self._step)):.1e}"
            self._bar.set_postfix(self._shown, refresh=False)
        self._step += 1
        if self._first:  # was compiled: its time tells nothing about the next ones
            self._first = False
            self._bar.n = self._bar.initial = self._bar.last_print_n = self._step * self._batch_size
            self._bar.unpause()
            self._bar.refresh()
        else:
            self._bar.update(self._batch_size)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if "val_pq" in logs:
            self._shown["PQ"] = f"{logs['val_pq']:.3f}"
            self._bar.set_postfix(self._shown)

    def close(self) -> None:
        """Leave the bar as it is and begin a new line."""
        self._bar.close()
