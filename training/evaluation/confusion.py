"""Confusion of classes among nuclei paired by their centroids."""

from __future__ import annotations

import numpy as np

from training.evaluation.class_groups import ClassGroups
from training.evaluation.detection import Pairs
from training.target import CLASSES


def confusion(
    pairs: Pairs, truth_groups: np.ndarray, predicted_classes: np.ndarray, groups: ClassGroups
) -> np.ndarray:
    """Count nuclei by the group of classes they have and the class they were given.

    Parameters
    ----------
    pairs
        Of nuclei irrespective of class.
    truth_groups
        int [n], group of each true nucleus. The class of one in group 0 is unknown: neither it nor
        its partner is counted.
    predicted_classes
        int [m], class 1..5 of each predicted nucleus; one of another class, 0, is not counted.
    groups
        What the groups are.

    Returns
    -------
    int64 [groups + 1, 6]
        Row g counts the true nuclei of group g: column c those predicted as class c, column 0 those
        missed. Row 0 counts the superfluous ones.
    """
    table = np.zeros((len(groups.masks) + 1, len(CLASSES)), np.int64)
    true, found = truth_groups[pairs.truth], predicted_classes[pairs.predicted]
    known = np.isin(true, groups.numbers) & (found > 0)
    np.add.at(table, (true[known], found[known]), 1)
    missed = truth_groups[pairs.missed]
    np.add.at(table, (missed[np.isin(missed, groups.numbers)], 0), 1)
    superfluous = predicted_classes[pairs.superfluous]
    np.add.at(table, (0, superfluous[superfluous > 0]), 1)
    return table
