"""Which classes a data set's labels can score."""

from __future__ import annotations

import numpy as np
from squares import annotated, dataset, squares

from training.evaluation.class_groups import find_groups


def test_groups_are_the_labels_that_occur() -> None:
    two = squares((0, 0), (20, 20))
    groups = find_groups(
        dataset(
            annotated(two, ["epithelial_any", "unknown"], source="consep"),
            annotated(two, ["connective", "epithelial_any"], source="consep"),
            annotated(two, ["unlabelled", "unlabelled"], source="kumar"),
        )
    )

    assert groups.names == ("connective", "neoplastic/epithelial")
    assert groups.sources == {"consep"}
    assert groups.of_allowed(np.array([8, 34, 62], np.uint8)).tolist() == [1, 2, 0]
    assert groups.of_classes(np.array([1, 2, 3, 4, 5])).tolist() == [2, 0, 1, 0, 2]


def test_overlapping_labels_give_no_groups_and_say_so() -> None:
    two = squares((0, 0), (20, 20))
    groups = find_groups(dataset(annotated(two, ["epithelial_any", "not_neoplastic"])))

    assert groups.masks == ()
    assert groups.note == (
        "No class scores: the labels neoplastic/epithelial and "
        "inflammatory/connective/dead/epithelial overlap; evaluate the sets one by one with --set."
    )


def test_sets_with_single_classes_and_unknown_nuclei_have_each_class() -> None:
    five = ["neoplastic", "inflammatory", "connective", "dead", "epithelial"]
    groups = find_groups(dataset(annotated(squares(), [*five, "unknown"], source="pannuke_breast")))

    assert groups.names == tuple(five)
    assert groups.note is None
