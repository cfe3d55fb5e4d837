"""Score a network on annotated images.

    python -m training.evaluate --manifest DATA --set kumar --out build/kumar/metrics.json
    python -m training.evaluate --pannuke PANNUKE --fold 3 --weights runs/paper/weights.npz ...
    python -m training.evaluate --manifest DATA --server localhost:8001 ...

Writes ``metrics.json`` where --out says, and ``per_tissue.csv``, ``per_image.csv`` and
``report.html`` beside it. In this process or through a server, images of any size are cut,
post-processed and stitched in the same way.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from training.data.annotated import DataError, Dataset
from training.data.hold_back import hold_back
from training.data.manifest import read_manifest
from training.data.pannuke import PanNukeFold, find_folds
from training.evaluation import report, served
from training.evaluation.run import Evaluation, Segment, evaluate
from training.evaluation.tables import Subject, make_tables, write_scores
from tsfd_client.client import Client
from tsfd_client.errors import TsfdError
from tsfd_client.settings import Settings

OUT = Path("build/evaluation/metrics.json")


class EvaluationError(Exception):
    """The evaluation cannot be done; the message says what to do."""


@dataclass(frozen=True)
class Network:
    """What segments, and the fields of `Subject` that describe it."""

    segment: Segment
    description: dict


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if (arguments.pannuke is None) != (arguments.fold is None):
        parser.error("--pannuke and --fold go together")
    settings = Settings(
        foreground_threshold=arguments.foreground_threshold,
        boundary_threshold=arguments.boundary_threshold,
        min_area=arguments.min_area,
        min_confidence=arguments.min_confidence,
        method=arguments.method,
    )
    try:
        _check_writable(arguments.out)
        data, split = _read(arguments)
        with Client(arguments.server) if arguments.server else nullcontext() as client:
            network = (
                _served(client, settings) if client else in_process(arguments.weights, settings)
            )
            evaluation = evaluate(data, network.segment, by_tissue=arguments.pannuke is not None)
        subject = Subject(
            data="+".join(sorted({entry.source for entry in data.entries})),
            split=split,
            limit=arguments.limit,
            **network.description,
        )
        _present(evaluation, data, subject, arguments.out)
    except (EvaluationError, DataError, TsfdError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("evaluate: stopped before the end; there are no scores.", file=sys.stderr)
        return 130
    return 0


def _check_writable(out: Path) -> None:
    """Better now than after the computation."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            raise EvaluationError(f"{out} is a folder: give --out the name of a file in it.")
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise _not_written(out, error) from error


def _not_written(out: Path, error: OSError) -> EvaluationError:
    return EvaluationError(f"Cannot write {out}: {error.strerror or error}.")


def _read(arguments: argparse.Namespace) -> tuple[Dataset, str]:
    """The images to evaluate, and the name of their split."""
    if arguments.pannuke is not None:
        folds = find_folds(arguments.pannuke)
        if arguments.fold not in folds:
            raise EvaluationError(
                f"{arguments.pannuke} has no fold {arguments.fold}; it has "
                f"{', '.join(map(str, folds))}."
            )
        data, split = PanNukeFold(folds[arguments.fold]), f"fold {arguments.fold}"
    else:
        data, split = read_manifest(arguments.manifest, arguments.split), arguments.split
        if arguments.held_back:
            data = getattr(hold_back(data), arguments.held_back)
            split += f", {arguments.held_back.replace('_', ' ')}"
            if not data.entries:
                raise EvaluationError(
                    f"Nothing is held back of the split {arguments.split!r}: its sets have fewer "
                    "than eight groups each."
                )
    entries = data.entries
    if arguments.set is not None:
        entries = tuple(entry for entry in entries if entry.source == arguments.set)
        if not entries:
            names = sorted({entry.source for entry in data.entries})
            raise EvaluationError(
                f"The split {split!r} has no set {arguments.set!r}; it has {', '.join(names)}."
            )
    return Dataset(entries[: arguments.limit]), split


def _served(client: Client, settings: Settings) -> Network:
    client.check()
    return Network(
        segment=partial(served.segment_all, client, settings=settings),
        description={
            "weights": f"server {client.url}",
            "sha256": None,
            "preset": None,
            "settings": vars(settings),
            "versions": _versions("tsfd-client", "numpy"),
        },
    )


def in_process(path: Path, settings: Settings) -> Network:
    """A weights file as what segments, in this process.

    Parameters
    ----------
    path
        Weights file.
    settings
        None stands for the default of `instances.Parameters`.

    Raises
    ------
    EvaluationError
        If the file cannot be used, or a setting is out of range.
    """
    # Here, because a server's scores need no Keras.
    import keras

    from training.evaluation.in_process import instances, segment_all
    from training.model import weights

    given = {name: value for name, value in vars(settings).items() if value is not None}
    try:
        parameters = instances.Parameters(**given)
        network, preset = weights.load(path)
    except (ValueError, weights.WeightsError) as error:
        raise EvaluationError(str(error)) from error
    return Network(
        segment=partial(segment_all, network, parameters=parameters),
        description={
            "weights": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "preset": preset,
            "settings": vars(parameters),
            "versions": _versions("tsfd-client", "numpy", "keras", keras.backend.backend()),
        },
    )


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}


def _present(evaluation: Evaluation, data: Dataset, subject: Subject, out: Path) -> None:
    """Print the tables, then write the files, so that a full disk loses no figure."""
    tables = make_tables(evaluation.scores, subject)
    print("\n\n".join(table.text() for table in tables))
    note = evaluation.groups.note
    if note:
        print(f"\n{note}")
    try:
        write_scores(evaluation.scores, subject, evaluation.seconds, note, out)
        page = out.with_name("report.html")
        report.write(evaluation, data, subject, tables, page)
    except OSError as error:
        raise _not_written(out, error) from error
    print(f"\n{evaluation.seconds:.1f} s. Figures: {out}; pictures: {page}")


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
    parser.add_argument("--split", default="test", help="of the manifest (default: %(default)s)")
    parser.add_argument(
        "--held-back",
        nargs="?",
        const="held_back",
        choices=("choosing", "reporting"),
        help="of the split only images that training.train holds back, all or one half",
    )
    parser.add_argument("--set", help="only this data set of the manifest")
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N images")
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
        "--out", type=Path, default=OUT, metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--foreground-threshold", type=float, metavar="P")
    parser.add_argument("--boundary-threshold", type=float, metavar="P")
    parser.add_argument("--min-area", type=int, metavar="PIXELS")
    parser.add_argument("--min-confidence", type=float, metavar="P")
    parser.add_argument("--method", choices=("watershed", "reference"))
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
