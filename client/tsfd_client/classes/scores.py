"""F1 of each class with 95 % intervals, and whether one answer is better than another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tsfd_client.classes.head import softmax

RESAMPLES: Final = 1000
_SEED: Final = 0
_INTERVAL: Final = (2.5, 97.5)
_LEAST: Final = 1e-12  # probability


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, eq=False)
class Resampled:
    """F1 of each class, float64 [1 + r, K]: of all nuclei, then of each bootstrap resample.

    NaN where a resample has no nucleus of a class.
    """

    f1: np.ndarray

    @property
    def classes(self) -> list[Estimate]:
        """F1 of each class."""
        return [estimate(self.f1[:, k]) for k in range(self.f1.shape[1])]

    @property
    def mean(self) -> Estimate:
        """Mean F1 over the classes."""
        return estimate(np.nanmean(self.f1, axis=1))

    def gain(self, before: Resampled) -> np.ndarray:
        """Mean F1 minus that of another answer on the same resamples, float64 [1 + r]."""
        return np.asarray(np.nanmean(self.f1, axis=1) - np.nanmean(before.f1, axis=1))


def estimate(samples: np.ndarray) -> Estimate:
    """An estimate from the figure (`samples[0]`) and its resampled values (the rest)."""
    drawn = samples[1:][~np.isnan(samples[1:])]
    low, high = np.percentile(drawn, _INTERVAL) if drawn.size else (np.nan, np.nan)
    return Estimate(float(samples[0]), float(low), float(high))


def resample(
    labels: np.ndarray,
    said: np.ndarray,
    classes: int,
    groups: np.ndarray,
    weights: np.ndarray,
    extra: np.ndarray | float = 0.0,
) -> Resampled:
    """F1 of each class on bootstrap resamples of the groups, or of nuclei if there is one.

    Parameters
    ----------
    labels, said
        int [n], the classes marked and those answered.
    classes
        Their number.
    groups
        int [n], slide or region of each nucleus.
    weights
        float [n], what each nucleus counts.
    extra
        float [K, K], added to every resample: nuclei by class (rows) and answer.
    """
    drawn, units = _draws(groups)
    number = drawn.shape[1]
    both, either = np.zeros((number, classes)), np.zeros((number, classes))
    marked = np.zeros((number, classes))
    np.add.at(marked, (units, labels), weights)
    np.add.at(either, (units, said), weights)
    right = labels == said
    np.add.at(both, (units[right], labels[right]), weights[right])
    more = np.broadcast_to(extra, (classes, classes))
    marked_then = drawn @ marked + more.sum(axis=1)
    either_then = drawn @ (either + marked) + more.sum(axis=0) + more.sum(axis=1)
    both_then = drawn @ both + more.diagonal()
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(marked_then > 0, 2 * both_then / either_then, np.nan)
    return Resampled(f1)


def total(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums of values, float [n], over all nuclei and over the same resamples; float64 [1 + r]."""
    drawn, units = _draws(groups)
    return np.asarray(drawn @ np.bincount(units, values, drawn.shape[1]))


def _draws(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each resample has each unit, float64 [1 + r, u], and the unit of each nucleus."""
    names, units = np.unique(groups, return_inverse=True)
    number = len(names)
    if number == 1:
        number, units = len(groups), np.arange(len(groups))
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(number, np.full(number, 1 / number), RESAMPLES)
    return np.concatenate([np.ones((1, number)), drawn]), units


def surprise(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log probability of each nucleus' class, float64 [..., n]; logits [..., n, K]."""
    of_label = softmax(logits)[..., np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.maximum(of_label, _LEAST)))


def f1(labels: np.ndarray, said: np.ndarray, classes: int, weights: np.ndarray) -> np.ndarray:
    """F1 of each class, float64 [K]; NaN for classes without nuclei."""
    marked, answered, both = (
        np.bincount(of, weight, minlength=classes)
        for of, weight in (
            (labels, weights),
            (said, weights),
            (labels, weights * (labels == said)),
        )
    )
    with np.errstate(invalid="ignore"):
        return np.where(marked > 0, 2 * both / (marked + answered), np.nan)


def confusion(labels: np.ndarray, said: np.ndarray, classes: int) -> np.ndarray:
    """int64 [K, K]: nuclei by the class marked (rows) and the class answered."""
    return np.bincount(labels * classes + said, minlength=classes**2).reshape(classes, classes)
