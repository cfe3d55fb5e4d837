"""Scores of finding nuclei, whatever their outlines: centroids paired within 12 pixels.

    detection(truth_points, predicted_points).f1    irrespective of class
    class_detection(...)[1].f1                      of one class

After Hover-Net (Graham et al. 2019), whose F_d and F_c these are. The ground truth comes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from training.evaluation.panoptic_quality import NUCLEUS_CLASSES

DETECTION_RADIUS = 12.0
"""Pixels at 0.25 um: the distance Hover-Net's authors allow between matched centroids."""


@dataclass(frozen=True)
class Detection:
    """Matched (``tp``), superfluous (``fp``) and missed (``fn``) centroids.

    ``precision``, ``recall`` and ``f1`` are NaN where their denominator is 0. Counts of several
    images may be added up with ``+`` before the ratios are read.
    """

    tp: int
    fp: int
    fn: int

    def __add__(self, other: Detection) -> Detection:
        return Detection(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True)
class ClassDetection:
    """Centroids of one class after matching irrespective of class (Graham et al. 2019).

    In ``precision``, ``recall`` and ``f1`` a confused class weighs twice a detection error; they
    are NaN where their denominator is 0. Counts may be added up with ``+``.

    Attributes
    ----------
    tp
        Matched pairs of which both nuclei have the class.
    confused_fp, confused_fn
        Matched pairs in which only the prediction, or only the ground truth, has the class.
    fp, fn
        Superfluous and missed nuclei of the class.
    """

    tp: int
    confused_fp: int
    confused_fn: int
    fp: int
    fn: int

    def __add__(self, other: ClassDetection) -> ClassDetection:
        return ClassDetection(
            self.tp + other.tp,
            self.confused_fp + other.confused_fp,
            self.confused_fn + other.confused_fn,
            self.fp + other.fp,
            self.fn + other.fn,
        )

    @property
    def precision(self) -> float:
        return _ratio(self.tp, self.tp + self.superfluous)

    @property
    def recall(self) -> float:
        return _ratio(self.tp, self.tp + self.missed)

    @property
    def f1(self) -> float:
        """Hover-Net's F_c."""
        return _ratio(2 * self.tp, 2 * self.tp + self.superfluous + self.missed)

    @property
    def superfluous(self) -> int:
        """Weighted errors against precision."""
        return 2 * self.confused_fp + self.fp

    @property
    def missed(self) -> int:
        """Weighted errors against recall."""
        return 2 * self.confused_fn + self.fn


def detection(
    truth_points: np.ndarray, predicted_points: np.ndarray, *, radius: float = DETECTION_RADIUS
) -> Detection:
    """Detection irrespective of class: centroids paired one to one within a radius.

    Parameters
    ----------
    truth_points, predicted_points
        float [n, 2] and [m, 2]: centroids in pixels.
    radius
        Largest distance of a match, in pixels.

    Returns
    -------
    Detection

    Raises
    ------
    ValueError
        If the points are not [n, 2].
    """
    tp = len(_matches(truth_points, predicted_points, radius)[0])
    return Detection(tp, len(predicted_points) - tp, len(truth_points) - tp)


def class_detection(
    truth_points: np.ndarray,
    truth_classes: np.ndarray,
    predicted_points: np.ndarray,
    predicted_classes: np.ndarray,
    *,
    classes: Sequence[int] = NUCLEUS_CLASSES,
    radius: float = DETECTION_RADIUS,
) -> dict[int, ClassDetection]:
    """Detection per class: paired as in `detection`, then the classes of each pair compared.

    Parameters
    ----------
    truth_points, predicted_points
        float [n, 2] and [m, 2]: centroids in pixels.
    truth_classes, predicted_classes
        int [n] and [m]. A true nucleus of class 0 has a class that nobody knows: neither it nor
        its match is counted.
    classes
        Classes to count.
    radius
        Largest distance of a match, in pixels.

    Returns
    -------
    dict
        Class -> `ClassDetection`.

    Raises
    ------
    ValueError
        If the points are not [n, 2] or there is not one class per point.
    """
    if len(truth_points) != len(truth_classes) or len(predicted_points) != len(predicted_classes):
        raise ValueError("Every centroid needs exactly one class.")
    rows, columns = _matches(truth_points, predicted_points, radius)
    known = truth_classes[rows] != 0
    true, found = truth_classes[rows][known], predicted_classes[columns][known]
    missed = np.delete(truth_classes, rows)
    superfluous = np.delete(predicted_classes, columns)
    return {
        c: ClassDetection(
            tp=int(((true == c) & (found == c)).sum()),
            confused_fp=int(((true != c) & (found == c)).sum()),
            confused_fn=int(((true == c) & (found != c)).sum()),
            fp=int((superfluous == c).sum()),
            fn=int((missed == c).sum()),
        )
        for c in classes
    }


def _matches(
    truth_points: np.ndarray, predicted_points: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of smallest summed distance, without those further apart than the radius.

    Hover-Net's pairing: the assignment is made first and the radius applied to it.
    """
    for points in (truth_points, predicted_points):
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"Centroids must have the shape [n, 2], not {list(points.shape)}.")
    distances = cdist(truth_points, predicted_points)
    rows, columns = linear_sum_assignment(distances)
    near = distances[rows, columns] <= radius
    return rows[near], columns[near]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
