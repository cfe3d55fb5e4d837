"""What classes of one's own are worth: heads fitted to few annotated nuclei, scored on others.

    python -m training.evaluation.classes --manifest DATA --weights weights/lite.npz

Given the nucleus: but for the last part, the annotators' outlines are used, so that only its class
can be wrong. Four parts, of which --part names some:

lizard   Lizard's six classes, which no network here was taught, on patients left out
tissue   tissue whose classes the network gets wrong, and a network whose classes are exchanged
gate     whether heads are refused where they do harm, and accepted where they help
served   all of the way, from marks on found nuclei to what is served; see `served_classes`

Marks are drawn from annotated nuclei, as many of each class where there are so many. Numbers are
of marks per class. Intervals are 95 %, bootstrapped over images. The figures of the shipped weights
are in docs/notes/classes.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from training.data.annotated import ALLOWED, DataError
from training.data.hold_back import listed
from training.data.manifest import read_entries
from training.evaluation.class_trials import Field, Trial, scores, try_out, workers
from training.evaluation.nucleus_features import Annotations, collect
from training.evaluation.served_classes import Bench
from training.model.weights import WeightsError
from training.table import Table, show
from training.target import CLASSES
from tsfd_client.classes.scores import estimate
from tsfd_client.errors import TsfdError
from tsfd_client.server.client import Client

_NETWORK = CLASSES[1:]
_NEOPLASTIC, _INFLAMMATORY, _CONNECTIVE = 0, 1, 2
_LIZARD = ("neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective")
_LIZARD_PARENTS = np.array(
    [_INFLAMMATORY, _NEOPLASTIC, _INFLAMMATORY, _INFLAMMATORY, _INFLAMMATORY, _CONNECTIVE]
)
_LIZARD_SETS = ("lizard_glas", "lizard_dpath", "lizard_pannuke")
_LIZARD_MARKS = (10, 30, 100, 300, 1000)
_FIVE = np.arange(len(_NETWORK))
_WRONG = 0.6
_REPAIRED = (10, 50)
_GATED = {
    "CoNSeP": ("consep",),
    "PanNuke": ("pannuke_breast", "pannuke10", "pannuke_uterus"),
    "GlaS": ("lizard_glas",),
}
_EXCHANGED = "neoplastic and inflammatory exchanged"
_OTHER_TISSUE = ("nucls15", "pannuke_uterus")
_LEARNED = ("pannuke_breast", "pannuke10")
_GATE_MARKS = (10, 30, 100, 300)
_WORTH_IT = 0.1
_CHOOSING = 20
_FOLDS = 5
_PARTS = ("lizard", "tissue", "gate", "served")


def lizard(nuclei: Annotations, pool: Executor) -> Iterator[Table]:
    """Mean F1 of Lizard's six classes by the number of marks, on patients or images left out."""
    field = _six(nuclei)
    for source in _LIZARD_SETS:
        inside = field.nuclei.sources == source
        if not inside.any():
            continue
        groups, place = np.unique(field.nuclei.groups, return_inverse=True)
        own = np.unique(place[inside])
        folds = own if source == "lizard_glas" else [own[n::_FOLDS] for n in range(_FOLDS)]
        rows = []
        for number in _LIZARD_MARKS:
            said = np.zeros(len(field.labels), np.int64)
            outside = [np.isin(place, fold) for fold in folds]
            trials = [Trial(field, ~out, inside & out, number, 0) for out in outside]
            for trial, answers in zip(trials, pool.map(try_out, trials), strict=True):
                said[trial.left_out] = answers.head
            found = scores(field.only(inside), said[inside])
            rows.append(
                (f"{number:,}", str(found.mean), *(f"{e.value:.2f}" for e in found.classes))
            )
        counts = np.bincount(field.labels[inside], minlength=len(_LIZARD))
        rows.append(("nuclei scored", "", *(f"{count:,}" for count in counts)))
        yield Table(
            f"Lizard's six classes in {source}, {len(own)} groups left out in turn; marks of "
            f"{len(groups)} groups",
            ("marks", "mean F1", *_LIZARD),
            tuple(rows),
        )


def _six(nuclei: Annotations) -> Field:
    known = nuclei.fine > 0
    return Field(nuclei[known], nuclei.fine[known].astype(np.int64) - 1, _LIZARD_PARENTS)


def _five(nuclei: Annotations) -> Field:
    known = np.isin(nuclei.allowed, 2 << _FIVE)
    labels = np.log2(nuclei.allowed[known]).astype(np.int64) - 1
    return Field(nuclei[known], labels, _FIVE)


def tissue(nuclei: Annotations, pool: Executor) -> Iterator[Table]:
    """Where the network's classes are wrong, and what few marks win back."""
    field = _five(nuclei)
    rows, wrong = [], []
    for source in np.unique(field.nuclei.sources):
        own = field.only(field.nuclei.sources == source)
        found = scores(own, own.nuclei.shares.argmax(axis=1))
        rows.append(
            (
                source,
                f"{len(own.labels):,}",
                str(found.mean),
                *("-" if np.isnan(e.value) else f"{e.value:.2f}" for e in found.classes),
            )
        )
        if found.mean.value < _WRONG:
            wrong.append(source)
    yield Table(
        "F1 of the network's classes given the nucleus",
        ("set", "nuclei", "mean F1", *_NETWORK),
        tuple(rows),
    )
    rows = []
    for source in wrong:
        own = field.only(field.nuclei.sources == source)
        for number in _REPAIRED:
            rows += _repair(source, own, own, number, pool)
    for name, sources in _GATED.items():
        own = field.only(np.isin(field.nuclei.sources, sources))
        if not len(own.labels):
            continue
        for number in _REPAIRED:
            rows += _repair(f"{name}, {_EXCHANGED}", own, _exchanged(own), number, pool)
    yield Table(
        "Accuracy on the other half of the images; won back: of what the exchange has lost",
        ("", "marks", "as trained", "before", "after", "won back"),
        tuple(rows),
    )


def _exchanged(field: Field) -> Field:
    """The same nuclei, of a network that takes two classes for each other."""
    shares = field.nuclei.shares.copy()
    shares[:, [_NEOPLASTIC, _INFLAMMATORY]] = shares[:, [_INFLAMMATORY, _NEOPLASTIC]]
    nuclei = Annotations(**vars(field.nuclei) | {"shares": shares})
    return Field(nuclei, field.labels, field.parents)


def _repair(
    title: str, trained: Field, broken: Field, number: int, pool: Executor
) -> Iterator[tuple[str, ...]]:
    """Accuracy before and after, mean over draws of halves."""
    trials = _halves(broken, number, range(_FOLDS))
    found = []
    for trial, answers in zip(trials, pool.map(try_out, trials), strict=True):
        labels = trained.labels[trial.left_out]
        sound = trained.nuclei.shares[trial.left_out].argmax(axis=1)
        used = answers.head if answers.accepted else answers.network
        found.append([(said == labels).mean() for said in (sound, answers.network, used)])
    if not found:
        return
    sound, before, after = np.mean(found, axis=0)
    lost = sound - before
    won = f"{(after - before) / lost:.2f}" if trained is not broken else "-"
    yield title, f"{number}", f"{sound:.2f}", f"{before:.2f}", f"{after:.2f}", won


def _halves(field: Field, number: int, seeds: range) -> list[Trial]:
    """Trials in which half of the groups give marks and the others are answered for."""
    groups, place = np.unique(field.nuclei.groups, return_inverse=True)
    trials = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(groups))
        learned = (order < (len(groups) + 1) // 2)[place]
        if len(field.only(learned).present) > 1 and not learned.all():
            trials.append(Trial(field, learned, ~learned, number, seed))
    return trials


def gate(nuclei: Annotations, draws: int, pool: Executor) -> Iterator[Table]:
    """How often heads are accepted, and what they gain or cost on images left out."""
    for name, field in _gate_fields(nuclei):
        yield Table(
            f"{name}: {draws} draws of marks and of halves of the images",
            (
                "marks",
                "network",
                "head",
                "accepted",
                "significantly worse",
                f"gain above {_WORTH_IT}",
                "of these accepted",
            ),
            tuple(
                (f"{number}", *_gated(_halves(field, number, _fresh(draws)), pool))
                for number in _GATE_MARKS
            ),
        )


def _fresh(draws: int) -> range:
    """Seeds of draws on which the levels of `tsfd_client.classes.judgement` were not chosen."""
    return range(_CHOOSING, _CHOOSING + draws)


def _gate_fields(nuclei: Annotations) -> Iterator[tuple[str, Field]]:
    """The network's own classes, which it knows, and others, of which there is much to learn."""
    five = _five(nuclei)
    sets = {name: five.only(np.isin(five.nuclei.sources, of)) for name, of in _GATED.items()}
    fields = sets | {f"{name}, {_EXCHANGED}": _exchanged(own) for name, own in sets.items()}
    fields |= {name: five.only(five.nuclei.sources == name) for name in _OTHER_TISSUE}
    six = _six(nuclei)
    fields["Lizard's six classes, GlaS"] = six.only(six.nuclei.sources == "lizard_glas")
    return ((name, field) for name, field in fields.items() if len(field.labels))


def _gated(trials: list[Trial], pool: Executor) -> tuple[str, ...]:
    network, head, accepted, worse, large, caught = [], [], 0, 0, 0, 0
    for trial, answers in zip(trials, pool.map(try_out, trials), strict=True):
        out = trial.field.only(trial.left_out)
        before, after = scores(out, answers.network), scores(out, answers.head)
        gain = estimate(after.gain(before))
        network.append(before.mean.value)
        head.append(after.mean.value)
        accepted += answers.accepted
        worse += answers.accepted and gain.high < 0
        large += gain.value > _WORTH_IT
        caught += answers.accepted and gain.value > _WORTH_IT
    return (
        f"{np.mean(network):.2f}",
        f"{np.mean(head):.2f}",
        *(f"{count}" for count in (accepted, worse, large, caught)),
    )


def _entries(folder: Path) -> list[dict]:
    """Images with classes; of PanNuke, those that the network has not learned from."""
    return [
        entry
        for entry in read_entries(folder)
        if _has_classes(folder / entry["masks"])
        and (
            entry["set"] not in _LEARNED
            or listed()[entry["set"]].get(entry["group"]) in ("choosing", "reporting")
        )
    ]


def _has_classes(masks: Path) -> bool:
    with np.load(masks) as marked:
        return "fine" in marked or any(len(ALLOWED[label]) == 1 for label in marked["label"])


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation.classes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="DIR", help="folder with a manifest.json"
    )
    parser.add_argument("--weights", type=Path, default=Path("weights/lite.npz"), metavar="FILE")
    parser.add_argument(
        "--part",
        choices=_PARTS,
        nargs="+",
        help="parts to run (default: all)",
    )
    parser.add_argument(
        "--draws", type=int, default=20, help="of the part `gate` (default: %(default)s)"
    )
    parser.add_argument(
        "--server",
        metavar="HOST:PORT",
        help="of the part `served`: try only the head that this server serves, by it",
    )
    parser.add_argument(
        "--kept",
        type=Path,
        default=Path("build/classes"),
        metavar="DIR",
        help="where the network's features are kept (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    parts = arguments.part or _PARTS
    try:
        entries = _entries(arguments.manifest)
        files = arguments.manifest, entries, arguments.weights, arguments.kept
        if "served" in parts:
            with Client(arguments.server) if arguments.server else nullcontext() as client:
                show(Bench(*files, client).tables())
        if parts == ["served"]:
            return 0
        nuclei = collect(*files)
    except (DataError, WeightsError, TsfdError) as error:
        print(f"classes: {error}", file=sys.stderr)
        return 1
    with workers() as pool:
        if "lizard" in parts:
            show(lizard(nuclei, pool))
        if "tissue" in parts:
            show(tissue(nuclei, pool))
        if "gate" in parts:
            show(gate(nuclei, arguments.draws, pool))
    return 0


if __name__ == "__main__":
    sys.exit(main())
