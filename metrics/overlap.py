"""Overlap between the instances of two maps.

Instance maps are integer arrays [H, W]: 0 is background, any other value an instance. Ids need
not be contiguous, nor the same in both maps. The ground truth always comes first.

    overlap(truth, predicted).iou    IoU of every pair of instances that share a pixel
    matched(truth, predicted)        ids of the pairs that panoptic quality counts
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MATCH = 0.5
"""IoU above which instances match; above one half, an instance has at most one match."""


@dataclass(frozen=True)
class Overlap:
    """Instances of two maps and their non-empty intersections.

    Intersection k has ``areas[k]`` pixels, between the true instance ``rows[k]`` and the predicted
    instance ``columns[k]``, which are indices into ``truth_ids`` and ``predicted_ids``.
    """

    truth_ids: np.ndarray
    predicted_ids: np.ndarray
    truth_areas: np.ndarray
    predicted_areas: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    areas: np.ndarray

    @property
    def unions(self) -> np.ndarray:
        """Pixels of the union of each pair that intersects."""
        return self.truth_areas[self.rows] + self.predicted_areas[self.columns] - self.areas

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each pair that intersects."""
        return self.areas / self.unions


def overlap(truth: np.ndarray, predicted: np.ndarray) -> Overlap:
    """Find all intersections of the instances of two maps.

    Parameters
    ----------
    truth, predicted
        Integer instance maps [H, W].

    Raises
    ------
    ValueError
        If the maps differ in shape or are not integer.
    """
    check_shapes(truth, predicted)
    for array in (truth, predicted):
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"An instance map must hold whole numbers, not {array.dtype}.")
    truth_ids, truth_areas = np.unique(truth[truth != 0], return_counts=True)
    predicted_ids, predicted_areas = np.unique(predicted[predicted != 0], return_counts=True)
    both = (truth != 0) & (predicted != 0)
    rows = np.searchsorted(truth_ids, truth[both])
    columns = np.searchsorted(predicted_ids, predicted[both])
    # Without predictions there are no pairs, but divmod still needs a divisor.
    width = max(predicted_ids.size, 1)
    pairs, areas = np.unique(rows * width + columns, return_counts=True)
    return Overlap(
        truth_ids, predicted_ids, truth_areas, predicted_areas, *divmod(pairs, width), areas
    )


def matched(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the true and the predicted id of every pair with IoU > 0.5.

    Parameters
    ----------
    truth, predicted
        Integer instance maps [H, W].

    Raises
    ------
    ValueError
        As in `overlap`.
    """
    found = overlap(truth, predicted)
    pairs = found.iou > MATCH
    return found.truth_ids[found.rows[pairs]], found.predicted_ids[found.columns[pairs]]


def check_shapes(truth: np.ndarray, predicted: np.ndarray) -> None:
    """Raise ValueError if two maps differ in shape."""
    if truth.shape != predicted.shape:
        raise ValueError(
            "Ground truth and prediction must have the same shape, not "
            f"{list(truth.shape)} and {list(predicted.shape)}."
        )
