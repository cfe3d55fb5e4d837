"""Whether two answers hold the same nuclei, of the same classes: one tolerance for all who ask.

A form of the network is compared with the SavedModel by it (`conversion.parity`: when it is made,
and where an engine is built or starts), and a server on a GPU with the network in this process
(`loadtest`). Counts add up over images: a single one holds too few nuclei to be judged.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final, Self

import numpy as np

from conversion.contract import CLASSES
from training.evaluation.overlap import MATCH, overlap

LEAST_PQ: Final = 0.95
"""Panoptic quality of 16 bits against float32 (docs/conversion.md has what is measured)."""
LEAST_KEPT: Final = 0.80
"""Share of the nuclei of each class that 16 bits leave in it."""
ENOUGH: Final = 10
"""Nuclei of a class that tell whether it is kept."""

_CLASSES = len(CLASSES) + 1


@dataclass(frozen=True)
class Agreement:
    """How the nuclei of two answers agree; ``a + b`` is that of both together.

    Attributes
    ----------
    iou
        Sum over the nuclei that match (IoU > 0.5).
    classes
        int64 [6, 6]: the reference's nuclei by their class (row; 0: not compared) and by that of
        their match (column; 0: there is none).
    superfluous
        Nuclei of the other that match none.
    """

    iou: float = 0.0
    classes: np.ndarray = field(default_factory=lambda: np.zeros((_CLASSES, _CLASSES), np.int64))
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
            [n]: class, 1 to 5, of each instance; 0 leaves one out of what is said of classes.
        """
        pairs = overlap(reference, found)
        same = pairs.iou > MATCH
        partners = np.zeros(pairs.truth_ids.size, np.int64)
        partners[pairs.rows[same]] = np.asarray(found_classes)[
            pairs.predicted_ids[pairs.columns[same]] - 1
        ]
        classes = np.zeros((_CLASSES, _CLASSES), np.int64)
        np.add.at(
            classes, (np.asarray(reference_classes, np.int64)[pairs.truth_ids - 1], partners), 1
        )
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
        found = json.loads(text)
        return cls(**found | {"classes": np.array(found["classes"])})

    def to_json(self) -> str:
        """One line that `from_json` reads."""
        return json.dumps(asdict(self) | {"classes": self.classes.tolist()})

    @property
    def nuclei(self) -> int:
        """Of the reference."""
        return int(self.classes.sum())

    @property
    def nuclei_found(self) -> int:
        """Of the other."""
        return int(self.classes[:, 1:].sum()) + self.superfluous

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
            name: float(row[number] / row.sum())
            for number, (name, row) in enumerate(zip(CLASSES, self.classes[1:], strict=True), 1)
            if row.sum() >= ENOUGH
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
                number = CLASSES.index(name) + 1
                others = self.classes[number].copy()
                count, others[number] = others.sum(), 0
                fate = ("are not found", *(f"become {other}" for other in CLASSES))
                sentences.append(
                    f"of {count} {name} nuclei {share:.0%} stay {name}, most of the others "
                    f"{fate[others.argmax()]} (at least {kept:.0%} must stay)"
                )
        return sentences
