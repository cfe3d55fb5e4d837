"""Means and ratios with 95 % confidence intervals; NaN where the denominator is 0.

    weights = resamples(len(images))
    estimate(mean([0.6, 0.7, nan]), weights)    Estimate(value=0.65, low=0.6, high=0.7)

Every score is the quotient of two sums over the images, such as values and their number, or the
counts in an F1 score. The bootstrap reweights the images and divides again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
"""Number of bootstrap resamples for an interval."""

_SEED = 0
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A score and its 95 % interval (percentile bootstrap over images); NaN if undefined.

    The interval is also NaN if fewer than two images contribute to the score.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Part:
    """Contributions of the images to numerator and denominator of a score, float [n] each."""

    above: np.ndarray
    below: np.ndarray

    @property
    def images(self) -> int:
        """Number of images that contribute to the score."""
        return int((self.below > 0).sum())

    def only(self, chosen: np.ndarray) -> Part:
        """Restrict to some images, chosen by indices or a mask."""
        return Part(self.above[chosen], self.below[chosen])

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """Compute the score under each row of weights, [r, n]; NaN where undefined."""
        below = weights @ self.below
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(below > 0, weights @ self.above / below, np.nan)


def mean(values: Sequence[float]) -> Part:
    """Contributions to the mean of a value; images with NaN do not contribute."""
    array = np.asarray(values, float)
    present = ~np.isnan(array)
    return Part(np.where(present, array, 0.0), present.astype(float))


def resamples(images: int) -> np.ndarray:
    """Bootstrap weights of the images, float [1 + resamples, n]; the first row is all ones."""
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    return np.concatenate([np.ones((1, images)), drawn])


def estimate(part: Part, weights: np.ndarray) -> Estimate:
    """Compute a score and its interval, with weights from `resamples`."""
    return summarise(part.resampled(weights), part.images)


def summarise(samples: np.ndarray, images: int) -> Estimate:
    """Make an estimate from the score (`samples[0]`) and its resampled values (the rest)."""
    value = float(samples[0])
    drawn = samples[1:][~np.isnan(samples[1:])]
    if images < 2 or math.isnan(value) or not drawn.size:
        return Estimate(value, math.nan, math.nan)
    low, high = np.percentile(drawn, _INTERVAL)
    return Estimate(value, float(low), float(high))


def nanmean(values: np.typing.ArrayLike) -> np.ndarray:
    """Mean over the first axis, ignoring NaN; NaN, without a warning, where all values are NaN."""
    array = np.asarray(values, np.float64)
    present = ~np.isnan(array)
    number = present.sum(axis=0)
    total = np.where(present, array, 0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def ratio(part: float, whole: float) -> float:
    """Quotient; NaN if `whole` is 0."""
    return part / whole if whole else math.nan
