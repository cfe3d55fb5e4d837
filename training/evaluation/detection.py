"""Detection scores, which ignore outlines: centroids are paired within 12 pixels.

    pairs = pair(truth_points, predicted_points)
    detection(pairs).f1                 irrespective of class
    class_detection(pairs, ...)[1].f1   of one class

These are the F_d and F_c of Hover-Net (Graham et al. 2019). The ground truth comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from metrics.estimates import ratio
from metrics.panoptic_quality import NUCLEUS_CLASSES

DETECTION_RADIUS = 12.0
"""Pixels at 0.25 um: the distance Hover-Net's authors allow between matched centroids."""


@dataclass(frozen=True)
class Pairs:
    """True and predicted nuclei with close centroids, and those without a partner.

    Attributes
    ----------
    truth, predicted
        int64 [k]: indices of both nuclei of each pair.
    missed, superfluous
        int64: indices of true and of predicted nuclei without a partner.
    """

    truth: np.ndarray
    predicted: np.ndarray
    missed: np.ndarray
    superfluous: np.ndarray


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
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True)
class ClassDetection:
    """Centroids of one class after matching irrespective of class (Graham et al. 2019).

    In ``precision``, ``recall`` and ``f1`` a confused class weighs twice as much as a detection
    error; they are NaN where their denominator is 0. Counts may be added up with ``+``.

    Attributes
    ----------
    tp
        Matched pairs in which both nuclei have the class.
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
        return ratio(self.tp, self.tp + self.superfluous)

    @property
    def recall(self) -> float:
        return ratio(self.tp, self.tp + self.missed)

    @property
    def f1(self) -> float:
        """Hover-Net's F_c."""
        return ratio(2 * self.tp, 2 * self.tp + self.superfluous + self.missed)

    @property
    def superfluous(self) -> int:
        """Weighted errors that lower precision."""
        return 2 * self.confused_fp + self.fp

    @property
    def missed(self) -> int:
        """Weighted errors that lower recall."""
        return 2 * self.confused_fn + self.fn


def pair(
    truth_points: np.ndarray, predicted_points: np.ndarray, *, radius: float = DETECTION_RADIUS
) -> Pairs:
    """Pair centroids one to one, minimising the summed distance, and keep pairs within a radius.

    As in Hover-Net, the radius is applied after the assignment.

    Parameters
    ----------
    truth_points, predicted_points
        float [n, 2] and [m, 2]: centroids in pixels.
    radius
        Largest distance of a match, in pixels.

    Returns
    -------
    Pairs

    Raises
    ------
    ValueError
        If the points are not [n, 2].
    """
    for points in (truth_points, predicted_points):
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"Centroids must have the shape [n, 2], not {list(points.shape)}.")
    distances = cdist(truth_points, predicted_points)
    rows, columns = linear_sum_assignment(distances)
    near = distances[rows, columns] <= radius
    truth, predicted = rows[near], columns[near]
    return Pairs(
        truth,
        predicted,
        np.delete(np.arange(len(truth_points)), truth),
        np.delete(np.arange(len(predicted_points)), predicted),
    )


def detection(pairs: Pairs) -> Detection:
    """Detection irrespective of class."""
    return Detection(len(pairs.truth), len(pairs.superfluous), len(pairs.missed))


def class_detection(
    pairs: Pairs,
    truth_classes: np.ndarray,
    predicted_classes: np.ndarray,
    *,
    classes: Sequence[int] = NUCLEUS_CLASSES,
) -> dict[int, ClassDetection]:
    """Count detections per class by comparing the classes of each pair.

    Parameters
    ----------
    pairs
        Of nuclei irrespective of class.
    truth_classes, predicted_classes
        int [n] and [m]. The class of a true nucleus of class 0 is unknown: neither it nor its match
        is counted.
    classes
        Classes to count.

    Returns
    -------
    dict
        Class -> `ClassDetection`.

    Raises
    ------
    ValueError
        If there is not one class per nucleus.
    """
    if len(truth_classes) != len(pairs.truth) + len(pairs.missed) or len(predicted_classes) != len(
        pairs.predicted
    ) + len(pairs.superfluous):
        raise ValueError("Every centroid needs exactly one class.")
    known = truth_classes[pairs.truth] != 0
    true = truth_classes[pairs.truth][known]
    found = predicted_classes[pairs.predicted][known]
    missed, superfluous = truth_classes[pairs.missed], predicted_classes[pairs.superfluous]
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
