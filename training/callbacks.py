"""What happens around the steps of a training: schedule, checkpoints, validation, progress."""

from __future__ import annotations

import math
import time
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from training import checkpoint, weights
from training.annotated import Annotated
from training.metrics import panoptic_quality
from training.pictures import draw_curves, draw_examples
from training.segment import segment_all


class TrainingError(Exception):
    """The training cannot go on; the message says why and what is left."""


class Schedule(keras.callbacks.Callback):
    """Linear warm-up and cosine decay of the learning rate, over steps or over minutes.

    Parameters
    ----------
    peak
        Highest learning rate.
    warm_up
        Share of the training in which the rate rises to it.
    steps
        Length of the training.
    minutes
        Length on the clock instead; the training stops when they are over.
    """

    def __init__(self, *, peak: float, warm_up: float, steps: int, minutes: float | None) -> None:
        super().__init__()
        self._peak = peak
        self._warm_up = warm_up
        self._steps = steps
        self._limit = None if minutes is None else 60 * minutes
        self.seconds = 0.0
        self._compiled = False
        self._began = 0.0

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self._began = time.monotonic()
        done = self.done
        rising = min(1.0, done / self._warm_up) if self._warm_up else 1.0
        self.model.optimizer.learning_rate.assign(
            self._peak * max(0.01, rising * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done))))
        )

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # The first step compiles for minutes; the time given is time to train.
        if self._compiled:
            self.seconds += time.monotonic() - self._began
        self._compiled = True
        if self._limit is not None and self.done >= 1:
            self.model.stop_training = True

    @property
    def done(self) -> float:
        """Share of the training that is over."""
        if self._limit is not None:
            return self.seconds / self._limit
        return int(self.model.optimizer.iterations) / self._steps


class StopOnNaN(keras.callbacks.Callback):
    """Raise `TrainingError` at the first loss that is not a number, before anything is saved."""

    def __init__(self, steps_per_epoch: int, kept: Path) -> None:
        super().__init__()
        self._steps_per_epoch = steps_per_epoch
        self._kept = kept
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if math.isfinite(logs["loss"]):
            return
        kept = f"{self._kept} is of epoch {self._epoch}" if self._epoch else "nothing was saved yet"
        raise TrainingError(
            f"The loss is {logs['loss']} at step {self._epoch * self._steps_per_epoch + batch + 1} "
            f"(epoch {self._epoch + 1}, batch {batch + 1}); {kept}. Lower the recipe's "
            "learning_rate and go on from there with --resume."
        )


class Checkpoint(keras.callbacks.Callback):
    """Write the whole state after every epoch; comes before the moving average is swapped in."""

    def __init__(self, path: Path, schedule: Schedule) -> None:
        super().__init__()
        self._path = path
        self._schedule = schedule

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        checkpoint.save(self.model, epoch + 1, self._schedule.seconds, self._path)


class SaveWeights(keras.callbacks.Callback):
    """Write the weights file after every epoch."""

    def __init__(self, preset: str, path: Path) -> None:
        super().__init__()
        self._preset = preset
        self._path = path

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        weights.save(self.model, self._preset, self._path)


class Validate(keras.callbacks.Callback):
    """Score the images held back after every epoch, and draw the first of them.

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
            panoptic_quality(image.instances, instances).pq
            for image, instances in zip(self._images, found, strict=True)
        ]
        logs["val_pq"] = float(np.nanmean(scores))
        draw_examples(self._images, found, scores, self._examples)


class Curves(keras.callbacks.Callback):
    """Draw what the log holds after every epoch; must come after the log."""

    def __init__(self, log: Path, path: Path) -> None:
        super().__init__()
        self._log = log
        self._path = path

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        draw_curves(self._log, self._path)


class Progress(keras.callbacks.Callback):
    """A bar over the whole training, with loss, rate, time left and the last validation's PQ."""

    def __init__(self, *, steps: int | None, steps_per_epoch: int, schedule: Schedule) -> None:
        super().__init__()
        self._steps_per_epoch = steps_per_epoch
        self._schedule = schedule
        self._bar = tqdm(total=steps, unit="step", smoothing=0.05)
        self._shown: dict[str, str] = {}

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._shown["epoch"] = str(epoch + 1)
        self._bar.n = self._bar.last_print_n = epoch * self._steps_per_epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._shown["loss"] = f"{logs['loss']:.3f}"
        self._shown["rate"] = f"{float(self.model.optimizer.learning_rate):.1e}"
        if self._bar.total is None:  # trained by the clock
            self._shown["done"] = f"{self._schedule.done:.0%}"
        self._bar.set_postfix(self._shown, refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if "val_pq" in logs:
            self._shown["PQ"] = f"{logs['val_pq']:.3f}"
            self._bar.set_postfix(self._shown)

    def close(self) -> None:
        """Leave the bar as it is and begin a new line."""
        self._bar.close()
