"""Scores of a whole image: Dice, AJI and AJI+.

    dice(truth, predicted)                      foreground
    aggregated_jaccard(truth, predicted).aji    instances

Maps are as in `metrics.overlap`; the ground truth comes first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from metrics.estimates import ratio
from metrics.overlap import Overlap, check_shapes, overlap


@dataclass(frozen=True)
class AggregatedJaccard:
    """Aggregated Jaccard index (Kumar et al. 2017) and its one-to-one variant AJI+ (Graham 2019).

    Both are NaN if neither map has an instance.
    """

    aji: float
    aji_plus: float


def dice(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Dice coefficient of the foregrounds of two maps; NaN if both are empty.

    Parameters
    ----------
    truth, predicted
        Integer or boolean maps [H, W]; everything but 0 is foreground.

    Raises
    ------
    ValueError
        If the maps differ in shape.
    """
    check_shapes(truth, predicted)
    a, b = truth != 0, predicted != 0
    return ratio(2 * int((a & b).sum()), int(a.sum()) + int(b.sum()))


def aggregated_jaccard(truth: np.ndarray, predicted: np.ndarray) -> AggregatedJaccard:
    """Aggregated Jaccard index, plain and with one-to-one matches.

    AJI pairs every true nucleus with the predicted one of largest IoU, which may be paired several
    times; AJI+ pairs them one to one so that the summed IoU is largest. Unpaired areas, on either
    side, add to the union.

    Parameters
    ----------
    truth, predicted
        Integer instance maps [H, W].

    Returns
    -------
    AggregatedJaccard

    Raises
    ------
    ValueError
        If the maps differ in shape or are not integer.
    """
    found = overlap(truth, predicted)
    if found.truth_areas.size + found.predicted_areas.size == 0:
        return AggregatedJaccard(math.nan, math.nan)
    iou = found.iou

    by_iou = np.lexsort((-iou, found.rows))
    _, firsts = np.unique(found.rows[by_iou], return_index=True)
    best = by_iou[firsts]

    shape = (found.truth_ids.size, found.predicted_ids.size)
    table = np.zeros(shape)
    table[found.rows, found.columns] = iou
    pair = np.full(shape, -1)
    pair[found.rows, found.columns] = np.arange(iou.size)
    paired = pair[linear_sum_assignment(table, maximize=True)]
    return AggregatedJaccard(_jaccard(found, best), _jaccard(found, paired[paired >= 0]))


def _jaccard(found: Overlap, pairs: np.ndarray) -> float:
    """Summed intersections of the pairs, divided by their summed unions plus unpaired areas."""
    rows, columns = found.rows[pairs], found.columns[pairs]
    union = (
        found.unions[pairs].sum()
        + np.delete(found.truth_areas, rows).sum()
        + np.delete(found.predicted_areas, columns).sum()
    )
    return float(found.areas[pairs].sum() / union)
