"""Score a network on annotated images.

    python -m training.evaluate --manifest DATA --set kumar --out build/kumar
    python -m training.evaluate --pannuke PANNUKE --fold 3 --weights runs/paper/weights.npz ...
    python -m training.evaluate --manifest DATA --server localhost:8001 ...

Writes ``metrics.json``, ``per_tissue.csv``, ``per_image.csv``, ``reliability.svg`` and
``report.html`` into the folder --out. In this process or through a server, images of any size are
cut, post-processed and stitched in the same way.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from training.arguments import positive
from training.data.annotated import DataError, Dataset
from training.data.hold_back import hold_back
from training.data.manifest import read_manifest
from training.data.pannuke import PanNukeFold, find_folds
from training.data.rescale import rescaled
from training.evaluation import report
from training.evaluation.files import write_scores
from training.evaluation.methods import METHODS, SERVED
from training.evaluation.segment_and_score import Evaluation, evaluate
from training.evaluation.sources import SourceError, from_server, from_weights
from training.evaluation.tables import Subject, make_tables
from training.table import show
from tsfd_client.errors import TsfdError
from tsfd_client.server.client import Client
from tsfd_client.settings import Settings

OUT = Path("build/evaluation")
_PARTS = {
    "choosing": "held back to choose settings by",
    "reporting": "held back to report",
    "all": "held back",
}


class EvaluationError(Exception):
    """The evaluation cannot be done; the message says what to do."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if (arguments.pannuke is None) != (arguments.fold is None):
        parser.error("--pannuke and --fold go together")
    if arguments.server and arguments.method != SERVED:
        parser.error(f"--method {arguments.method} goes with --weights: no server offers it")
    try:
        settings = Settings(
            foreground_threshold=arguments.foreground_threshold,
            boundary_threshold=arguments.boundary_threshold,
            min_area=arguments.min_area,
            min_confidence=arguments.min_confidence,
        )
        _check_writable(arguments.out)
        with Client(arguments.server) if arguments.server else nullcontext() as client:
            if client:
                source = from_server(client, settings)
            else:
                source = from_weights(arguments.weights, settings, arguments.method)
            data, split = _read(arguments, source.mpp)
            evaluation = evaluate(
                data,
                source.segment,
                by_tissue=arguments.pannuke is not None,
                classes=source.classes,
            )
        subject = Subject(
            data="+".join(sorted({entry.source for entry in data.entries})),
            split=split,
            limit=arguments.limit,
            **source.description,
        )
        _present(evaluation, data, subject, arguments.out)
    except (EvaluationError, SourceError, DataError, TsfdError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("evaluate: stopped before the end; there are no scores.", file=sys.stderr)
        return 130
    return 0


def _check_writable(out: Path) -> None:
    """Fail now rather than after the computation."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise _not_written(out, error) from error


def _not_written(out: Path, error: OSError) -> EvaluationError:
    return EvaluationError(f"Cannot write {out}: {error.strerror or error}.")


def _read(arguments: argparse.Namespace, mpp: float) -> tuple[Dataset, str]:
    """The images to evaluate, at the network's scale, and the name of their split."""
    if arguments.pannuke is not None:
        folds = find_folds(arguments.pannuke)
        if arguments.fold not in folds:
            raise EvaluationError(
                f"{arguments.pannuke} has no fold {arguments.fold}; it has "
                f"{', '.join(map(str, folds))}."
            )
        data, split = PanNukeFold(folds[arguments.fold]), f"fold {arguments.fold}"
        data = rescaled(data, mpp)
    else:
        data, split = _read_manifest(arguments, mpp)
    entries = data.entries
    if arguments.set is not None:
        entries = tuple(entry for entry in entries if entry.source == arguments.set)
        if not entries:
            names = sorted({entry.source for entry in data.entries})
            raise EvaluationError(
                f"The split {split!r} has no set {arguments.set!r}; it has {', '.join(names)}."
            )
    return Dataset(entries[: arguments.limit]), split


def _read_manifest(arguments: argparse.Namespace, mpp: float) -> tuple[Dataset, str]:
    split, part = arguments.split, arguments.held_back
    if not part:
        split = split or "test"
        return read_manifest(arguments.manifest, split, mpp), split
    split = split or "train"
    parts = hold_back(read_manifest(arguments.manifest, split, mpp))
    data = parts.held_back if part == "all" else getattr(parts, part)
    if not data.entries:
        raise EvaluationError(
            f"No image of the split {split!r} is {_PARTS[part]}: its sets have too few groups."
        )
    return data, f"{split}, {_PARTS[part]}"


def _present(evaluation: Evaluation, data: Dataset, subject: Subject, out: Path) -> None:
    """Print the tables before writing the files, so that a full disk loses no figures."""
    tables = make_tables(evaluation.scores, subject)
    show(tables)
    note = evaluation.groups.note
    if note:
        print(f"{note}\n")
    try:
        write_scores(evaluation.scores, subject, evaluation.seconds, note, out)
        report.write(evaluation, data, subject, tables, out)
    except OSError as error:
        raise _not_written(out, error) from error
    print(f"{evaluation.seconds:.1f} s. Figures and pictures (report.html) are in {out}.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--manifest", type=Path, metavar="DIR", help="folder with a manifest.json")
    data.add_argument("--pannuke", type=Path, metavar="DIR", help="folder with PanNuke's folds")
    parser.add_argument("--fold", type=int, help="fold of PanNuke")
    parser.add_argument(
        "--split", help="of the manifest (default: test, or train with --held-back)"
    )
    parser.add_argument(
        "--held-back",
        nargs="?",
        const="all",
        choices=("all", "choosing", "reporting"),
        help="only the images of the split that training holds back: all of them, those for "
        "choosing settings, or those for reporting",
    )
    parser.add_argument("--set", help="only this data set of the manifest")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first N images")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--weights",
        type=Path,
        default=Path("weights/lite.npz"),
        metavar="FILE",
        help="trained network (default: %(default)s)",
    )
    source.add_argument("--server", metavar="HOST:PORT", help="a running server instead")
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT,
        metavar="DIR",
        help="folder to write (default: %(default)s)",
    )
    parser.add_argument("--foreground-threshold", type=float, metavar="P")
    parser.add_argument("--boundary-threshold", type=float, metavar="P")
    parser.add_argument("--min-area", type=int, metavar="PIXELS")
    parser.add_argument("--min-confidence", type=float, metavar="P")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default=SERVED,
        help="how nuclei are split: as they are served, or as TSFD-Net's authors do it (default: "
        "%(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
