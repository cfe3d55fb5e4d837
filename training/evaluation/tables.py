"""What an evaluation found: tables on screen, JSON and CSV files.

The tables are the same on screen and in the report: see `tables`.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from training.data.pannuke import SOURCE as PANNUKE_SOURCE
from training.evaluation.published import (
    PANNUKE,
    TSFD_NET_CLASSES,
    TSFD_NET_TISSUES,
    Published,
    published_for,
)
from training.evaluation.scores import RESAMPLES, Estimate, Scores
from tsfd_client.contract import TISSUES

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
        Thresholds, smallest nucleus and method; a server keeps its own where they are None.
    versions
        Versions of the packages that computed.
    limit
        Number of images asked for, where that is not all.
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
        """Data, split and weights in a line."""
        part = f", first {self.limit} images" if self.limit else ""
        return f"{self.data} {self.split}{part}; {self.weights_name}"

    @property
    def weights_name(self) -> str:
        """Weights with the start of their checksum."""
        return f"{self.weights} ({self.sha256[:8]})" if self.sha256 else self.weights


@dataclass(frozen=True)
class Table:
    """A table whose first column is text and the others figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """Aligned for a terminal."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        return "\n".join(
            [
                self.title,
                *(
                    "  "
                    + "  ".join(
                        cell.ljust(width) if i == 0 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(line, widths, strict=True))
                    ).rstrip()
                    for line in lines
                ),
            ]
        )


def make_tables(scores: Scores, subject: Subject) -> list[Table]:
    """Scores overall, per class and per tissue, then beside published ones where these apply."""
    found = [_overall(scores, subject)]
    if scores.classes:
        found.append(_classes(scores))
    if scores.tissues:
        found.append(_tissues(scores))
    return found + _comparisons(scores, subject)


def side_by_side(published: Published, ours: Mapping[str, Mapping[str, float]]) -> Table:
    """Published systems and ours in one table.

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


def write_scores(
    scores: Scores, subject: Subject, seconds: float, note: str | None, out: Path
) -> None:
    """Write `out` (JSON), and ``per_tissue.csv`` and ``per_image.csv`` beside it.

    Parameters
    ----------
    seconds
        The evaluation took.
    note
        Why there are no class scores, if so.
    """
    out.write_text(json.dumps(_json(scores, subject, seconds, note), indent=2) + "\n")
    _write_csv(
        out.with_name("per_tissue.csv"),
        ("tissue", "images", "mpq", "bpq"),
        ((t.name, t.images, t.mpq.value, t.bpq.value) for t in scores.tissues),
    )
    names = [c.name for c in scores.classes]
    _write_csv(
        out.with_name("per_image.csv"),
        (
            *("image", "set", "tissue", "tissue_found", "nuclei", "nuclei_found"),
            *("pq", "dq", "sq", "bpq", "mpq", "dice", "aji", "aji_plus"),
            *("matched", "superfluous", "missed"),
            *(f"pq_{name}" for name in names),
        ),
        (
            (
                *(i.name, i.source, _tissue(i.tissue), TISSUES[i.found_tissue]),
                *(sum(i.truth_counts), sum(i.found_counts)),
                *(i.pq.quality.pq, i.pq.quality.dq, i.pq.quality.sq, i.pq.binary, i.pq.multi),
                *(i.dice, i.aji, i.aji_plus),
                *(i.detection.tp, i.detection.fp, i.detection.fn),
                *i.pq.classes,
            )
            for i in scores.images
        ),
    )


def _overall(scores: Scores, subject: Subject) -> Table:
    nuclei = sum(sum(image.truth_counts) for image in scores.images)
    return Table(
        title=f"{subject.title}: {_count(len(scores.images), 'image')}, {nuclei:,} nuclei",
        header=("score", "value", "95 % interval"),
        rows=tuple(
            (name, _figure(scores.overall[key].value), _interval(scores.overall[key]))
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
    """Published figures beside these; none where only a part of the data was evaluated."""
    if subject.limit:
        return []
    ours = {key: estimate.value for key, estimate in scores.overall.items()}
    if subject.data != PANNUKE_SOURCE:
        published = published_for(subject.data, subject.split, len(scores.images))
        return [side_by_side(published, {subject.weights_name: ours})] if published else []
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


def _json(scores: Scores, subject: Subject, seconds: float, note: str | None) -> dict:
    return _without_nan(
        {
            **asdict(subject),
            "seconds": round(seconds, 1),
            "images": len(scores.images),
            "nuclei": sum(sum(image.truth_counts) for image in scores.images),
            "mean_over": "tissues" if scores.by_tissue else "images",
            "intervals": f"95 %, percentile bootstrap over images, {RESAMPLES} resamples",
            "note": note,
            "scores": {key: asdict(estimate) for key, estimate in scores.overall.items()},
            "classes": {c.name: asdict(c) for c in scores.classes},
            "tissues": {t.name: asdict(t) for t in scores.tissues},
        }
    )


def _without_nan(value: object) -> object:
    """The same with None for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow([_cell(value) for value in row])


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else round(value, 6)
    return value


def _tissue(tissue: int | None) -> str:
    return "" if tissue is None else TISSUES[tissue]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(estimate: Estimate) -> str:
    if math.isnan(estimate.low):
        return "-"
    return f"{estimate.low:.3f} to {estimate.high:.3f}"
