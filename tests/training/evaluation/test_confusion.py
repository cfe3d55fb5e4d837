"""Which classes are taken for which."""

from __future__ import annotations

import numpy as np

from training.evaluation.class_groups import single_classes
from training.evaluation.confusion import confusion
from training.evaluation.detection import pair


def test_pairs_misses_and_superfluous_nuclei_are_counted() -> None:
    truth = np.array([[0.0, 0.0], [50.0, 0.0], [100.0, 0.0], [150.0, 0.0]])
    predicted = np.array([[1.0, 0.0], [51.0, 0.0], [101.0, 0.0], [300.0, 0.0]])

    # The third is of a class that nobody knows.
    table = confusion(
        pair(truth, predicted), np.array([1, 5, 0, 4]), np.array([1, 1, 2, 3]), single_classes("x")
    )

    expected = np.zeros((6, 6), int)
    expected[1, 1] = expected[5, 1] = expected[4, 0] = expected[0, 3] = 1
    assert table.tolist() == expected.tolist()
