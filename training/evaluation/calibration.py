"""How well ``class_prob`` predicts how often the class of a nucleus is right.

    table = reliability(class_prob, right)    one row per bin of class_prob
    calibration_error(table)                  their mean distance from the diagonal
    bins(table)                               to show

Only nuclei matched to a true nucleus of known class count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 10
"""Bins of equal width from 0 to 1."""


@dataclass(frozen=True)
class Bin:
    """Nuclei whose ``class_prob`` lies between two bounds.

    Attributes
    ----------
    low, high
        The bounds.
    nuclei
        How many there are.
    class_prob, right
        Mean of their ``class_prob``, and share of those with the right class.
    """

    low: float
    high: float
    nuclei: int
    class_prob: float
    right: float


def reliability(class_prob: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Count nuclei by bins of ``class_prob``.

    Parameters
    ----------
    class_prob
        float [n] from 0 to 1.
    right
        bool [n], whether the nucleus was given the right class.

    Returns
    -------
    float64 [BINS, 3]
        Number of nuclei, sum of their ``class_prob``, and number with the right class. Tables of
        several images may be added.
    """
    rows = np.minimum((BINS * class_prob).astype(np.int64), BINS - 1)
    table = np.zeros((BINS, 3))
    np.add.at(table, rows, np.stack([np.ones(len(rows)), class_prob, right], axis=-1))
    return table


def calibration_error(table: np.ndarray) -> np.ndarray:
    """Expected calibration error (Guo et al. 2017, "On calibration of modern neural networks").

    Parameters
    ----------
    table
        float [..., BINS, 3], as `reliability` makes it.

    Returns
    -------
    float64 [...]
        Absolute difference between mean ``class_prob`` and share of right classes, averaged over
        the nuclei; NaN without nuclei.
    """
    nuclei, confidence, right = np.moveaxis(table, -1, 0)
    total = nuclei.sum(axis=-1)
    off = np.abs(confidence - right).sum(axis=-1)
    return np.where(total > 0, off / np.maximum(total, 1e-12), np.nan)


def bins(table: np.ndarray) -> list[Bin]:
    """The bins of `reliability` that hold a nucleus."""
    return [
        Bin(row / BINS, (row + 1) / BINS, int(nuclei), confidence / nuclei, right / nuclei)
        for row, (nuclei, confidence, right) in enumerate(table.tolist())
        if nuclei
    ]
