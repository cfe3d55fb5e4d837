"""Tables of an evaluation's scores, for the screen and for the report.

show(make_tables(evaluation.scores, subject))
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from metrics.estimates import Estimate
from training.data.pannuke import SOURCE as PANNUKE_SOURCE
from training.evaluation.calibration import bins
from training.evaluation.published import (
    PANNUKE,
    TSFD_NET_CLASSES,
    TSFD_NET_TISSUES,
    Published,
    published_for,
)
from training.evaluation.scores import Scores
from training.table import Table
from training.target import CLASSES

NAMES: dict[str, str] = {
    "mpq": "mPQ",
    "bpq": "bPQ",
    "pq": "PQ",
    "dq": "DQ",
    "sq": "SQ",
    "dice": "Dice",
    "aji": "AJI",
    "aji_plus": "AJI+",
    "detection_precision": "Detection precision",
    "detection_recall": "Detection recall",
    "detection_f1": "Detection F1",
    "calibration_error": "Calibration error of class_prob",
    "tissue_accuracy": "Tissue accuracy",
}
"""Scores in the order of the tables."""


@dataclass(frozen=True)
class Subject:
    """What was evaluated.

    Attributes
    ----------
    data, split
        Such as ``"kumar"`` and ``"test"``, ``"pannuke"`` and ``"fold 3"``.
    weights
        Weights file or address of the server.
    sha256
        Of the weights file; None for a server.
    preset
        Network of the weights; None for a server.
    settings
        Thresholds and smallest nucleus; for a weights file also the method.
    versions
        Versions of the packages that computed the scores.
    limit
        Number of images asked for, if not all.
    """

    data: str
    split: str
    weights: str
    sha256: str | None
    preset: str | None
    settings: Mapping[str, float | int | str | None]
    versions: Mapping[str, str]
    limit: int | None = None

    @property
    def title(self) -> str:
        """Data, split and weights in one line."""
        part = f", first {self.limit} images" if self.limit else ""
        return f"{self.data} {self.split}{part}; {self.weights_name}"

    @property
    def weights_name(self) -> str:
        """Weights with the start of their checksum."""
        return f"{self.weights} ({self.sha256[:8]})" if self.sha256 else self.weights


def make_tables(scores: Scores, subject: Subject) -> list[Table]:
    """Make tables of the scores overall, per class and per tissue, and beside published ones."""
    found = [_overall(scores, subject)]
    if scores.classes:
        found += [_classes(scores), _confusion(scores)]
    if scores.reliability.any():
        found.append(_reliability(scores))
    if scores.tissues:
        found.append(_tissues(scores))
    return found + _comparisons(scores, subject)


def side_by_side(published: Published, ours: Mapping[str, Mapping[str, float]]) -> Table:
    """Put published systems and ours into one table.

    Parameters
    ----------
    published
        Systems and the scores to show.
    ours
        Name of each of our systems -> scores by their keys in `Scores.overall`.
    """
    return Table(
        title=f"Beside published systems: {published.protocol}",
        header=("system", *(NAMES[column] for column in published.columns)),
        rows=tuple(
            (name, *(_figure(value) for value in values))
            for name, values in [
                *published.systems.items(),
                *(
                    (name, [values[column] for column in published.columns])
                    for name, values in ours.items()
                ),
            ]
        ),
    )


def _overall(scores: Scores, subject: Subject) -> Table:
    averaged = f", mean over {'tissues' if scores.by_tissue else 'images'}"
    return Table(
        title=f"{subject.title}: {count_of(len(scores.images), 'image')}, {scores.nuclei:,} nuclei",
        header=("score", "value", "95 % interval"),
        rows=tuple(
            (
                f"{name}{averaged if key in ('mpq', 'bpq') else ''}",
                _figure(scores.overall[key].value),
                _interval(scores.overall[key]),
            )
            for key, name in NAMES.items()
        ),
    )


def _classes(scores: Scores) -> Table:
    return Table(
        title="Per class (precision, recall and F1 of detection with the right class)",
        header=("class", "nuclei", "found", "PQ", "95 %", "precision", "recall", "F1", "95 %"),
        rows=tuple(
            (
                *(c.name, f"{c.truth:,}", f"{c.found:,}"),
                *(_figure(c.pq.value), _interval(c.pq)),
                *(_figure(c.precision.value), _figure(c.recall.value)),
                *(_figure(c.f1.value), _interval(c.f1)),
            )
            for c in scores.classes
        ),
    )


def _confusion(scores: Scores) -> Table:
    superfluous, *rows = scores.confusion.tolist()
    names = [c.name for c in scores.classes]
    return Table(
        title="True classes (rows) and predicted ones, by pairs of centroids",
        header=("class", *CLASSES[1:], "missed"),
        rows=tuple(
            (name, *(f"{count:,}" for count in counts), f"{missed:,}")
            for name, (missed, *counts) in zip(
                [*names, "superfluous"], [*rows, superfluous], strict=True
            )
        ),
    )


def _reliability(scores: Scores) -> Table:
    return Table(
        title="Nuclei by class_prob, and the share with the right class",
        header=("class_prob", "nuclei", "mean class_prob", "right"),
        rows=tuple(
            (
                f"{b.low:.1f} to {b.high:.1f}",
                *(f"{b.nuclei:,}", _figure(b.class_prob), _figure(b.right)),
            )
            for b in bins(scores.reliability)
        ),
    )


def _tissues(scores: Scores) -> Table:
    return Table(
        title="Per tissue",
        header=("tissue", "images", "mPQ", "95 %", "bPQ", "95 %"),
        rows=tuple(
            (
                *(t.name, f"{t.images:,}"),
                *(_figure(t.mpq.value), _interval(t.mpq)),
                *(_figure(t.bpq.value), _interval(t.bpq)),
            )
            for t in scores.tissues
        ),
    )


def _comparisons(scores: Scores, subject: Subject) -> list[Table]:
    """Compare with published figures; no tables if only part of the data was evaluated."""
    if subject.limit:
        return []
    ours = {key: estimate.value for key, estimate in scores.overall.items()}
    if subject.data != PANNUKE_SOURCE:
        published = published_for(subject.data, subject.split, len(scores.images))
        return [side_by_side(published, {subject.weights_name: ours})] if published else []
    if len(scores.classes) < len(TSFD_NET_CLASSES):
        return []
    return [
        side_by_side(PANNUKE, {f"{subject.weights_name}, {subject.split}": ours}),
        Table(
            title="PQ per class beside TSFD-Net",
            header=("class", "TSFD-Net", "these weights"),
            rows=tuple(
                (c.name, _figure(TSFD_NET_CLASSES[c.name]), _figure(c.pq.value))
                for c in scores.classes
            ),
        ),
        Table(
            title="Per tissue beside TSFD-Net",
            header=("tissue", "TSFD-Net mPQ", "bPQ", "these weights mPQ", "bPQ"),
            rows=tuple(
                (
                    t.name,
                    *(_figure(value) for value in TSFD_NET_TISSUES[t.name]),
                    *(_figure(t.mpq.value), _figure(t.bpq.value)),
                )
                for t in scores.tissues
            ),
        ),
    ]


def count_of(number: int, what: str) -> str:
    """Such as "1 image" and "14 images"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return "-"
    return f"{estimate.low:.3f} to {estimate.high:.3f}"
