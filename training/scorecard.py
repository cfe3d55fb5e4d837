"""Score weights on every set that has images to report: the tables of the model card.

    python -m training.scorecard --manifest DATA --weights weights/lite.npz weights/paper.npz

Each set is scored on its own, at the network's scale: its images of the split ``test``, and those
of the split ``train`` that training holds back to report. bPQ and mPQ are means over images. --out
receives ``scores.md``, and for each weights file and set a folder with ``metrics.json`` and the
scores of each image.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from metrics.estimates import Estimate
from training.data.annotated import DataError, Dataset
from training.data.hold_back import hold_back
from training.data.manifest import read_manifest, sound_entries
from training.evaluation.files import write_scores
from training.evaluation.scores import Scores
from training.evaluation.segment_and_score import evaluate
from training.evaluation.sources import Source, SourceError, from_weights
from training.evaluation.tables import Subject, count_of
from training.table import Table, show
from training.target import CLASSES
from tsfd_client.settings import Settings

OUT = Path("build/scores")
_COLUMNS = {
    "bpq": "bPQ",
    "pq": "PQ",
    "mpq": "mPQ",
    "detection_f1": "F1 within 3 µm",
    "calibration_error": "calibration error",
}


@dataclass(frozen=True)
class Part:
    """The images of a set that report, at some scale, and their split."""

    name: str
    split: str
    data: Dataset


@dataclass(frozen=True)
class Row:
    """Scores of a weights file on a part of a set."""

    part: Part
    weights: str
    scores: Scores


def parts(folder: Path, mpp: float) -> Iterator[Part]:
    """Every set that has images to report, at `mpp`.

    Raises
    ------
    DataError
        If there is none, or the manifest or a file is broken.
    """
    splits = {entry["split"] for entry in sound_entries(folder)}
    found = []
    if "test" in splits:
        found.append(("test", read_manifest(folder, "test", mpp)))
    if "train" in splits:
        held = hold_back(read_manifest(folder, "train", mpp)).reporting
        found.append(("train, held back to report", held))
    names = sorted({(entry.source, split) for split, data in found for entry in data.entries})
    if not names:
        raise DataError(
            f"{folder} has no image to report scores of: none is of the split 'test', and its sets "
            "have too few groups to hold one back."
        )
    by_split = dict(found)
    for name, split in names:
        entries = by_split[split].entries
        yield Part(name, split, Dataset(entry for entry in entries if entry.source == name))


def score(part: Part, weights: Path, source: Source, out: Path) -> Row:
    """Score a part of a set, and write its figures below `out`."""
    evaluation = evaluate(part.data, source.segment, by_tissue=False, classes=source.classes)
    subject = Subject(data=part.name, split=part.split, **source.description)
    folder = out / name_of(weights) / f"{part.name}-{part.split.split(',')[0]}"
    folder.mkdir(parents=True, exist_ok=True)
    write_scores(evaluation.scores, subject, evaluation.seconds, evaluation.groups.note, folder)
    return Row(part, name_of(weights), evaluation.scores)


def name_of(weights: Path) -> str:
    """Name of a weights file in tables: that of its run folder if it lies in one."""
    return weights.resolve().parent.name if weights.name == "weights.npz" else weights.stem


def tables(rows: list[Row]) -> list[Table]:
    """Scores of each set, and F1 of each class in the sets that tell it."""
    single = CLASSES[1:]
    f1 = [(row, {kind.name: kind for kind in row.scores.classes if kind.truth}) for row in rows]
    others = sorted({name for _, kinds in f1 for name in kinds} - set(single))
    names = [*single, *others]
    return [
        Table(
            title="Scores, means over images [95 % interval, bootstrapped over images]",
            header=("data", "weights", *_COLUMNS.values()),
            rows=tuple(
                (
                    *_head(row),
                    *(_estimate(row.scores.overall[key]) for key in _COLUMNS),
                )
                for row in rows
            ),
        ),
        Table(
            title="Nuclei of each class, and F1 of detection with the right class",
            header=("data", "weights", *names),
            rows=tuple(
                (
                    *_head(row),
                    *(
                        f"{kinds[name].truth:,}: {_estimate(kinds[name].f1)}"
                        if name in kinds
                        else "-"
                        for name in names
                    ),
                )
                for row, kinds in f1
                if kinds
            ),
        ),
    ]


def _head(row: Row) -> tuple[str, str]:
    scores = row.scores
    size = f"{count_of(len(scores.images), 'image')}, {scores.nuclei:,} nuclei"
    return f"{row.part.name}, {row.part.split}: {size}", row.weights


def _estimate(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    if math.isnan(estimate.low):  # one image
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def markdown(tables: list[Table]) -> str:
    """The tables for a document."""
    lines = []
    for table in tables:
        ruled = "|".join("---" for _ in table.header)
        lines += [f"{table.title}:", "", f"| {' | '.join(table.header)} |", f"|{ruled}|"]
        lines += [f"| {' | '.join(row)} |" for row in table.rows]
        lines.append("")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.scorecard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="DIR", help="folder with a manifest.json"
    )
    parser.add_argument(
        "--weights", type=Path, nargs="+", default=[Path("weights/lite.npz")], metavar="FILE"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT,
        metavar="DIR",
        help="folder to write (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    names = [name_of(path) for path in arguments.weights]
    if len(set(names)) < len(names):
        parser.error(f"two files would have one name in the tables: {', '.join(names)}")
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        sources = {path: from_weights(path, Settings()) for path in arguments.weights}
        scales = {source.mpp for source in sources.values()}
        at_scale = {mpp: list(parts(arguments.manifest, mpp)) for mpp in scales}
        rows = [
            [score(part, path, source, arguments.out) for part in at_scale[source.mpp]]
            for path, source in sources.items()
        ]
        found = tables([row for of_part in zip(*rows, strict=True) for row in of_part])
        show(found)
        path = arguments.out / "scores.md"
        path.write_text(markdown(found))
        print(f"Wrote {path}.")
    except (DataError, SourceError, OSError) as error:
        print(f"scorecard: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("scorecard: stopped before the end; there is no scores.md.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
