"""Means, ratios and their 95 % intervals; NaN where there is nothing to divide by.

    weights = resamples(len(images))
    estimate(mean([0.6, 0.7, nan]), weights)    Estimate(value=0.65, low=0.6, high=0.7)

Every score is a sum over the images divided by another: a mean of values by their number, a
detection's F1 by its counts. The bootstrap weighs the images anew and divides again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
"""Resamplings of the images that an interval is made of."""

_SEED = 0
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A score and its 95 % interval (percentile bootstrap over images); NaN where undefined.

    The interval is NaN too where fewer than two images have a part in the score.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Part:
    """What each image adds to the two sums of a score, float [n] each."""

    above: np.ndarray
    below: np.ndarray

    @property
    def images(self) -> int:
        """Images that have a part in the score."""
        return int((self.below > 0).sum())

    def only(self, chosen: np.ndarray) -> Part:
        """The part of some images, chosen by their positions or by a mask."""
        return Part(self.above[chosen], self.below[chosen])

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The score under each row of weights [r, n]; NaN where it is not defined."""
        below = weights @ self.below
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(below > 0, weights @ self.above / below, np.nan)


def mean(values: Sequence[float]) -> Part:
    """Each image's part in the mean of a value, none where the value is NaN."""
    array = np.asarray(values, float)
    present = ~np.isnan(array)
    return Part(np.where(present, array, 0.0), present.astype(float))


def resamples(images: int) -> np.ndarray:
    """How often each image counts, float [1 + resamples, n]: first as they are, then resampled."""
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    return np.concatenate([np.ones((1, images)), drawn])


def estimate(part: Part, weights: np.ndarray) -> Estimate:
    """A score with its interval, from the weights that `resamples` makes."""
    return summarise(part.resampled(weights), part.images)


def summarise(samples: np.ndarray, images: int) -> Estimate:
    """A score with its interval: first the score itself, then what the resamplings gave."""
    value = float(samples[0])
    drawn = samples[1:][~np.isnan(samples[1:])]
    if images < 2 or math.isnan(value) or not drawn.size:
        return Estimate(value, math.nan, math.nan)
    low, high = np.percentile(drawn, _INTERVAL)
    return Estimate(value, float(low), float(high))


def nanmean(values: np.typing.ArrayLike) -> np.ndarray:
    """Mean over the first axis without NaN; NaN, and no warning, where nothing is left."""
    array = np.asarray(values, np.float64)
    present = ~np.isnan(array)
    number = present.sum(axis=0)
    total = np.where(present, array, 0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def ratio(part: float, whole: float) -> float:
    """Quotient; NaN where the whole is 0."""
    return part / whole if whole else math.nan
