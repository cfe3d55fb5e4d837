"""Train and score on PanNuke by the protocols of the literature.

    python -m training.protocol rotation --pannuke PANNUKE --recipe paper --out runs/rotation
    python -m training.protocol random --pannuke PANNUKE --recipe paper --out runs/random

``rotation`` is the official protocol: three trainings, each on one fold, validated on another and
scored on the third. ``random`` is that of TSFD-Net's authors: 80 % of the patches of every tissue
for training and 20 % for scoring. Finally prints the paper's tables with our scores beside them.
Running the same command again resumes where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path

import numpy as np

from training import backend  # isort: skip  # noqa: F401, before Keras
from metrics.estimates import Estimate, nanmean
from training.callbacks import TrainingError
from training.checkpoint import CheckpointError
from training.data.annotated import DataError, Dataset, Entry
from training.data.pannuke import SOURCE, PanNukeFold, find_folds
from training.data.rescale import rescaled
from training.evaluation.files import write_scores
from training.evaluation.scores import Scores
from training.evaluation.segment_and_score import evaluate
from training.evaluation.sources import SourceError, from_weights
from training.evaluation.tables import Subject, make_tables
from training.model.weights import WeightsError
from training.recipe import Recipe, RecipeError, read
from training.stopping import STOPPED, Stopped
from training.table import show
from training.train import SEED, train
from tsfd_client.settings import Settings

ROTATION = ((1, 2, 3), (2, 1, 3), (3, 2, 1))
"""Folds for training, validation and scoring in each of the three official splits."""

_TEST_SHARE = 0.2
_VALIDATION_SHARE = 1 / 8  # of the rest


@dataclass(frozen=True)
class Split:
    """One training of a protocol."""

    name: str
    training: Dataset
    validation: Dataset
    test: Dataset


def rotation(folds: dict[int, Dataset]) -> Iterator[Split]:
    """The official three splits."""
    for number, roles in enumerate(ROTATION, start=1):
        yield Split(f"split{number}", *(folds[fold] for fold in roles))


def random_split(folds: dict[int, Dataset]) -> Iterator[Split]:
    """Score 20 % of the patches of every tissue; an eighth of the other 80 % validates."""
    by_tissue: dict[int | None, list[Entry]] = defaultdict(list)
    for fold in folds.values():
        for entry in fold.entries:
            by_tissue[entry.tissue].append(entry)
    rng = np.random.default_rng(SEED)
    training, validation, test = [], [], []
    for _, entries in sorted(by_tissue.items()):
        order = rng.permutation(len(entries))
        cut = round(len(entries) * _TEST_SHARE)
        test += [entries[i] for i in order[:cut]]
        rest = order[cut:]
        cut = round(len(rest) * _VALIDATION_SHARE)
        validation += [entries[i] for i in rest[:cut]]
        training += [entries[i] for i in rest[cut:]]
    yield Split("random", Dataset(training), Dataset(validation), Dataset(test))


PROTOCOLS = {"rotation": rotation, "random": random_split}


def run(splits: Iterator[Split], recipe: Recipe, out: Path) -> list[Scores]:
    """Train and score every split; each has a run folder in `out` with its ``metrics.json``.

    Raises
    ------
    DataError, WeightsError, ImportError, CheckpointError, TrainingError, Stopped
        As `training.train.train`.
    SourceError
        If the weights of a training cannot be read.
    """
    found = []
    for split in splits:
        folder = out / split.name
        print(f"{split.name}: {len(split.training):,} patches, scored on {len(split.test):,}.")
        resume = (folder / "checkpoint.npz").exists()
        train(split.training, split.validation, recipe, folder, resume=resume)
        source = from_weights(folder / "weights.npz", Settings())
        evaluation = evaluate(split.test, source.segment, by_tissue=True)
        subject = Subject(data=SOURCE, split=split.name, **source.description)
        note = evaluation.groups.note
        write_scores(evaluation.scores, subject, evaluation.seconds, note, folder)
        found.append(evaluation.scores)
    return found


def mean(runs: Sequence[Scores]) -> Scores:
    """Mean of every score over the runs, without intervals."""

    def over(estimates: Sequence[Estimate]) -> Estimate:
        return Estimate(float(nanmean([e.value for e in estimates])), nan, nan)

    def named(part: str) -> dict[str, list]:
        rows = defaultdict(list)
        for scores in runs:
            for row in getattr(scores, part):
                rows[row.name].append(row)
        return rows

    return Scores(
        overall={key: over([s.overall[key] for s in runs]) for key in runs[0].overall},
        classes=tuple(
            replace(
                rows[0],
                truth=sum(row.truth for row in rows),
                found=sum(row.found for row in rows),
                **{
                    score: over([getattr(row, score) for row in rows])
                    for score in ("pq", "precision", "recall", "f1")
                },
            )
            for rows in named("classes").values()
        ),
        tissues=tuple(
            replace(
                rows[0],
                images=sum(row.images for row in rows),
                mpq=over([row.mpq for row in rows]),
                bpq=over([row.bpq for row in rows]),
            )
            for _, rows in sorted(named("tissues").items())
        ),
        confusion=sum(scores.confusion for scores in runs),
        reliability=sum(scores.reliability for scores in runs),
        images=tuple(image for scores in runs for image in scores.images),
        by_tissue=True,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.protocol",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("--pannuke", type=Path, required=True, metavar="DIR")
    parser.add_argument("--recipe", default="paper", help="paper, full, lite or a .toml file")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder that receives the run folders"
    )
    arguments = parser.parse_args(argv)
    try:
        recipe = read(arguments.recipe)
        if recipe.start == "weights":
            raise RecipeError(
                f"{arguments.recipe} goes on from trained weights, but a protocol scores what is "
                "learned from its own patches alone: choose another recipe."
            )
        folders = find_folds(arguments.pannuke)
        missing = {1, 2, 3} - folders.keys()
        if missing:
            raise DataError(f"{arguments.pannuke} lacks fold {min(missing)} of PanNuke's three.")
        folds = {
            number: rescaled(PanNukeFold(folder), recipe.mpp) for number, folder in folders.items()
        }
        runs = run(PROTOCOLS[arguments.protocol](folds), recipe, arguments.out)
    except (
        RecipeError,
        DataError,
        WeightsError,
        SourceError,
        CheckpointError,
        TrainingError,
        ImportError,
        OSError,
    ) as error:
        print(f"protocol: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Stopped):
        print(
            "protocol: stopped; the same command goes on from the last checkpoint.", file=sys.stderr
        )
        return STOPPED
    title = f"mean of {len(runs)} splits" if len(runs) > 1 else "random 80/20"
    subject = Subject(
        data=SOURCE,
        split=title,
        weights=f"recipe {arguments.recipe}",
        sha256=None,
        preset=recipe.network,
        settings={},
        versions={},
    )
    show(make_tables(mean(runs), subject))
    return 0


if __name__ == "__main__":
    sys.exit(main())
