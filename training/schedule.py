"""The learning rate of a training, by step."""

from __future__ import annotations

import math

import keras
from keras import ops


class WarmUpHoldDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises linearly, is held, and falls to 0 by half a cosine.

    Keras' own schedules start to fall right after the warm-up. While the rate is held, a training
    can still be prolonged (Hägele et al. 2024, "Scaling laws and compute-optimal training beyond
    fixed training durations").

    Parameters
    ----------
    peak
        Highest rate.
    warm_up, decay
        Number of steps over which the rate rises and falls.
    steps
        Length of the training; the decay ends there.
    """

    def __init__(self, *, peak: float, warm_up: float, decay: float, steps: int) -> None:
        self._peak = peak
        self._warm_up = max(1.0, warm_up)
        self._decay = max(1.0, decay)
        self._steps = steps

    def __call__(self, step):
        """Rate of a step, counted from 0; a scalar."""
        step = ops.cast(step, "float32")
        rising = ops.minimum(1.0, (step + 1.0) / self._warm_up)
        left = ops.clip((self._steps - step) / self._decay, 0.0, 1.0)
        return self._peak * rising * (0.5 - 0.5 * ops.cos(math.pi * left))
