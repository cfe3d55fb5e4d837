"""Write the scores of an evaluation: ``metrics.json`` and two CSV files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from metrics.estimates import RESAMPLES
from training.evaluation.calibration import bins
from training.evaluation.scores import Scores
from training.evaluation.tables import Subject
from training.target import CLASSES
from tsfd_client.contract import TISSUES


def write_scores(
    scores: Scores, subject: Subject, seconds: float, note: str | None, folder: Path
) -> None:
    """Write ``metrics.json``, ``per_tissue.csv`` and ``per_image.csv`` into a folder.

    Parameters
    ----------
    seconds
        Duration of the evaluation.
    note
        Why there are no class scores, or None.
    """
    found = json.dumps(_json(scores, subject, seconds, note), indent=2)
    (folder / "metrics.json").write_text(found + "\n")
    _write_csv(
        folder / "per_tissue.csv",
        ("tissue", "images", "mpq", "bpq"),
        ((t.name, t.images, t.mpq.value, t.bpq.value) for t in scores.tissues),
    )
    names = [c.name for c in scores.classes]
    _write_csv(
        folder / "per_image.csv",
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


def _json(scores: Scores, subject: Subject, seconds: float, note: str | None) -> dict:
    rows = ("superfluous", *(c.name for c in scores.classes))
    columns = ("missed", *CLASSES[1:])
    return _without_nan(
        {
            **asdict(subject),
            "seconds": round(seconds, 1),
            "images": len(scores.images),
            "nuclei": scores.nuclei,
            "mean_over": "tissues" if scores.by_tissue else "images",
            "intervals": f"95 %, percentile bootstrap over images, {RESAMPLES} resamples",
            "note": note,
            "scores": {key: asdict(estimate) for key, estimate in scores.overall.items()},
            "classes": {c.name: asdict(c) for c in scores.classes},
            "confusion": {
                row: dict(zip(columns, counts, strict=True))
                for row, counts in zip(rows, scores.confusion.tolist(), strict=True)
            },
            "reliability": [asdict(bin_) for bin_ in bins(scores.reliability)],
            "tissues": {t.name: asdict(t) for t in scores.tissues},
        }
    )


def _without_nan(value: object) -> object:
    """Replace NaN, which JSON does not know, by None."""
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
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
