"""Whether two answers hold the same nuclei, of the same classes: one tolerance for all who ask.

A form of the network is compared with the SavedModel by it (`conversion.parity`: when it is made,
and where an engine is built or starts), and a server on a GPU with the network in this process
(`loadtest`). Counts add up over images: a single one holds too few nuclei to be judged.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from metrics.overlap import MATCH, overlap

LEAST_PQ: Final = 0.95
"""Panoptic quality of 16 bits against float32 (docs/conversion.md has what is measured)."""
LEAST_KEPT: Final = 0.80
"""Share of the nuclei of each class that 16 bits leave in it."""
ENOUGH: Final = 10
"""Nuclei of a class that tell whether it is kept."""


@dataclass(frozen=True)
class Agreement:
    """How the nuclei of two answers agree; ``a + b`` is that of both together.

    Attributes
    ----------
    iou
        Sum over the nuclei that match (IoU > 0.5).
    classes
        How many of the reference's nuclei there are by name of their class (empty: not compared)
        and by that of their match (empty: there is none).
    superfluous
        Nuclei of the other that match none.
    """

    iou: float = 0.0
    classes: Counter[tuple[str, str]] = field(default_factory=Counter)
    superfluous: int = 0

    @classmethod
    def of(
        cls,
        reference: np.ndarray,
        reference_classes: np.ndarray,
        found: np.ndarray,
        found_classes: np.ndarray,
    ) -> Agreement:
        """Compare two answers about one image.

        Parameters
        ----------
        reference, found
            Integer instance maps [H, W], numbered from 1 without gaps.
        reference_classes, found_classes
            str [n]: name of each instance's class; an empty one leaves it out of what is said of
            classes.
        """
        pairs = overlap(reference, found)
        same = pairs.iou > MATCH
        partners = np.full(pairs.truth_ids.size, "", object)
        partners[pairs.rows[same]] = found_classes[pairs.predicted_ids[pairs.columns[same]] - 1]
        names = reference_classes[pairs.truth_ids - 1].tolist()
        classes = Counter(zip(names, partners.tolist(), strict=True))
        superfluous = pairs.predicted_ids.size - int(same.sum())
        return cls(float(pairs.iou[same].sum()), classes, superfluous)

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.iou + other.iou,
            self.classes + other.classes,
            self.superfluous + other.superfluous,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The agreement that `to_json` wrote."""
        iou, classes, superfluous = json.loads(text)
        return cls(iou, Counter({(a, b): count for a, b, count in classes}), superfluous)

    def to_json(self) -> str:
        """One line that `from_json` reads."""
        classes = [[*pair, count] for pair, count in self.classes.items()]
        return json.dumps([self.iou, classes, self.superfluous])

    @property
    def nuclei(self) -> int:
        """Of the reference."""
        return self.classes.total()

    @property
    def nuclei_found(self) -> int:
        """Of the other."""
        return sum(n for (_, other), n in self.classes.items() if other) + self.superfluous

    @property
    def panoptic_quality(self) -> float:
        """Over all images; 1 where neither answer holds a nucleus."""
        nuclei = (self.nuclei + self.nuclei_found) / 2
        return self.iou / nuclei if nuclei else 1.0

    @property
    def kept(self) -> dict[str, float]:
        """By name of the class: share of its nuclei that have a match of the same class.

        Only classes of which the reference has as many nuclei as tell (`ENOUGH`).
        """
        return {
            name: row[name] / row.total()
            for name, row in sorted(self._rows().items())
            if name and row.total() >= ENOUGH
        }

    def lost_classes(self, kept: float) -> list[str]:
        """Classes that too few of their nuclei keep, each as a sentence without a full stop.

        Parameters
        ----------
        kept
            Share of the nuclei of each class that must keep it.
        """
        sentences = []
        for name, share in self.kept.items():
            if share < kept:
                row = self._rows()[name]
                other, _ = (row - Counter({name: row[name]})).most_common(1)[0]
                fate = f"become {other}" if other else "are not found"
                sentences.append(
                    f"of {row.total()} {name} nuclei {share:.0%} stay {name}, most of the others "
                    f"{fate} (at least {kept:.0%} must stay)"
                )
        return sentences

    def _rows(self) -> dict[str, Counter[str]]:
        """By class of the reference: its nuclei by the class of their match."""
        rows: dict[str, Counter[str]] = {}
        for (name, other), count in self.classes.items():
            rows.setdefault(name, Counter())[other] += count
        return rows
