"""Groups of classes that a data set can score, if its labels may stand for several classes.

The groups of a data set are the distinct sets of classes that its nuclei may have. A predicted
class belongs to the group it lies in. A nucleus that may have any class belongs to none. Groups of
classes that a network does not predict are not scored, but taking their nuclei for a class that is
counts as an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metrics.panoptic_quality import NUCLEUS_CLASSES
from training.data.annotated import Dataset
from training.target import CLASSES

_ANY = sum(1 << c for c in NUCLEUS_CLASSES)


@dataclass(frozen=True)
class ClassGroups:
    """Groups of classes, numbered from 1; 0 is no group.

    Attributes
    ----------
    masks
        Set of classes of each group, the sum of ``2 ** class``; no two share a class.
    sources
        Names of the data sets with nuclei that belong to a group.
    note
        Why there are no groups even though nuclei have classes, or which are missing, or None.
    others
        Sets of classes that are not scored; their nuclei have the number after the groups'.
    """

    masks: tuple[int, ...]
    sources: frozenset[str]
    note: str | None = None
    others: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Such as ``"connective"``, ``"neoplastic/epithelial"``."""
        return tuple(_name(mask) for mask in self.masks)

    @property
    def numbers(self) -> range:
        """Numbers of the groups."""
        return range(1, len(self.masks) + 1)

    def of_allowed(self, allowed: np.ndarray) -> np.ndarray:
        """Group of each nucleus, given its set of allowed classes; int64 [n]."""
        numbers = np.zeros(256, np.int64)
        numbers[list(self.masks)] = self.numbers
        numbers[list(self.others)] = len(self.masks) + 1
        return numbers[allowed]

    def of_classes(self, classes: np.ndarray) -> np.ndarray:
        """Group of each nucleus, given its predicted class 1..5, or 0 for another; int64 [n]."""
        numbers = np.zeros(len(CLASSES), np.int64)
        for number, mask in zip(self.numbers, self.masks, strict=True):
            numbers[[c for c in NUCLEUS_CLASSES if mask >> c & 1]] = number
        return numbers[classes]

    def of_network(self, classes: Sequence[int]) -> ClassGroups:
        """Restrict to the groups whose classes a network all predicts."""
        predicted = sum(1 << c for c in classes)
        masks = tuple(mask for mask in self.masks if not mask & ~predicted)
        if masks == self.masks:
            return self
        others = tuple(mask for mask in self.masks if mask not in masks)
        names = ", ".join(map(_name, others))
        note = f"Not scored, as the network has no classes of these names: {names}."
        return ClassGroups(masks, self.sources, note, others)


def single_classes(*sources: str) -> ClassGroups:
    """Make each of the five classes its own group, as in PanNuke."""
    return ClassGroups(tuple(1 << c for c in NUCLEUS_CLASSES), frozenset(sources))


def find_groups(data: Dataset) -> ClassGroups:
    """Find the groups of the labels that occur; none, with a note, if labels overlap."""
    masks: set[int] = set()
    sources: set[str] = set()
    for annotated in data:
        found = set(np.unique(annotated.allowed[1:]).tolist()) - {_ANY}
        if found:
            masks |= found
            sources.add(annotated.source)
    ordered = sorted(masks)
    for position, mask in enumerate(ordered):
        for other in ordered[:position]:
            if mask & other:
                return ClassGroups(
                    (),
                    frozenset(),
                    f"No class scores: the labels {_name(other)} and {_name(mask)} overlap; "
                    "evaluate the sets one by one with --set.",
                )
    return ClassGroups(tuple(ordered), frozenset(sources))


def _name(mask: int) -> str:
    return "/".join(CLASSES[c] for c in NUCLEUS_CLASSES if mask >> c & 1)
