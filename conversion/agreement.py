"""Whether two answers hold the same nuclei of the same classes, by one shared tolerance.

Used to compare a form of the network with the SavedModel (`conversion.parity`, at conversion and
when an engine is built or started), and a server on a GPU with the network in this process
(`loadtest`). Counts add up over images, as a single image holds too few nuclei to be judged.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from metrics.overlap import MATCH, overlap

LEAST_PQ: Final = 0.95
"""Lowest panoptic quality of 16 bits against float32 (measurements: docs/conversion.md)."""
LEAST_KEPT: Final = 0.80
"""Lowest share of the nuclei of each class that must keep it in 16 bits."""
ENOUGH: Final = 10
"""Number of nuclei of a class from which it is judged."""


@dataclass(frozen=True)
class Agreement:
    """Agreement between the nuclei of two answers; ``a + b`` is the agreement over both.

    Attributes
    ----------
    iou
        Sum over the nuclei that match (IoU > 0.5).
    classes
        Number of the reference's nuclei by name of their class (empty: not compared) and of their
        match's class (empty: no match).
    superfluous
        Number of nuclei of the other answer without a match.
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
            str [n]: name of each instance's class; an instance with an empty one is not compared by
            class.
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
        """Restore an agreement from what `to_json` returned."""
        iou, classes, superfluous = json.loads(text)
        return cls(iou, Counter({(a, b): count for a, b, count in classes}), superfluous)

    def to_json(self) -> str:
        """Return one line of JSON for `from_json`."""
        classes = [[*pair, count] for pair, count in self.classes.items()]
        return json.dumps([self.iou, classes, self.superfluous])

    @property
    def nuclei(self) -> int:
        """Number of nuclei in the reference."""
        return self.classes.total()

    @property
    def nuclei_found(self) -> int:
        """Number of nuclei in the other answer."""
        return sum(n for (_, other), n in self.classes.items() if other) + self.superfluous

    @property
    def panoptic_quality(self) -> float:
        """Panoptic quality over all images; 1 if neither answer holds a nucleus."""
        nuclei = (self.nuclei + self.nuclei_found) / 2
        return self.iou / nuclei if nuclei else 1.0

    @property
    def kept(self) -> dict[str, float]:
        """By class, the share of its nuclei with a match of the same class.

        Only for classes with at least `ENOUGH` nuclei in the reference.
        """
        return {
            name: row[name] / row.total()
            for name, row in sorted(self._rows().items())
            if name and row.total() >= ENOUGH
        }

    def lost_classes(self, kept: float) -> list[str]:
        """Find classes that too few nuclei keep; returns a sentence without a full stop for each.

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
        """By class in the reference, the classes of its nuclei's matches with their counts."""
        rows: dict[str, Counter[str]] = {}
        for (name, other), count in self.classes.items():
            rows.setdefault(name, Counter())[other] += count
        return rows
