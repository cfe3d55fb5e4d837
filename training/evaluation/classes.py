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
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.annotated import ALLOWED, DataError
from training.data.hold_back import listed
from training.data.manifest import read_entries
from training.evaluation.nucleus_features import Annotations, collect
from training.evaluation.served_classes import Bench
from training.model.weights import WeightsError
from training.table import Table, show
from training.target import CLASSES
from tsfd_client.classes.fit import FEWEST_MARKS, judge
from tsfd_client.classes.head import prior
from tsfd_client.classes.logistic import solve
from tsfd_client.classes.marked import MarkedNuclei, Nuclei
from tsfd_client.classes.scores import Resampled, estimate, resample
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
_LEARNED = ("pannuke_breast", "pannuke10")
_GATE_MARKS = (10, 30, 100, 300)
_WORTH_IT = 0.1
_AROUND = 4000
_FOLDS = 5
_PARTS = ("lizard", "tissue", "gate", "served")


@dataclass(frozen=True, eq=False)
class Field:
    """Nuclei with one true class each, of which some are marked and others scored."""

    nuclei: Annotations
    labels: np.ndarray
    parents: np.ndarray

    def only(self, chosen: np.ndarray) -> Field:
        """Restrict to some nuclei."""
        return Field(self.nuclei[chosen], self.labels[chosen], self.parents)

    def marks(self, number: int, rng: np.random.Generator) -> MarkedNuclei:
        """Draw so many nuclei of each class, or all there are."""
        order = rng.permutation(len(self.labels))
        drawn = np.concatenate([order[self.labels[order] == k][:number] for k in self.present])
        return MarkedNuclei(
            self.nuclei.features[drawn],
            self.nuclei.shares[drawn],
            np.searchsorted(self.present, self.labels[drawn]),
            self.nuclei.groups[drawn],
            self.nuclei.places[drawn],
        )

    @property
    def present(self) -> np.ndarray:
        """Classes with enough nuclei to learn from."""
        return np.flatnonzero(np.bincount(self.labels) >= FEWEST_MARKS)

    def around(self, rng: np.random.Generator) -> Nuclei:
        """A sample of all nuclei."""
        drawn = rng.permutation(len(self.labels))[:_AROUND]
        return Nuclei(self.nuclei.features[drawn], self.nuclei.shares[drawn])


@dataclass(frozen=True, eq=False)
class Trial:
    """Answers of network and head for nuclei left out, and whether the head was accepted."""

    network: np.ndarray
    head: np.ndarray
    accepted: bool


def try_out(learned: Field, left_out: Field, number: int, seed: int) -> Trial:
    """Fit a head to marks of one field and let it and the network answer for another."""
    rng = np.random.default_rng(seed)
    marked, around = learned.marks(number, rng), learned.around(rng)
    names, parents = learned.present, learned.parents[learned.present]
    judged = judge(marked, around, parents)
    head = solve(marked, around, parents, judged.path)[-1]
    return Trial(
        names[_network_logits(left_out, names).argmax(axis=1)],
        names[head.logits(left_out.nuclei).argmax(axis=1)],
        judged.accepted,
    )


def _network_logits(field: Field, names: np.ndarray) -> np.ndarray:
    return prior(field.nuclei.shares, field.parents[names])


def _scores(field: Field, said: np.ndarray) -> Resampled:
    ones = np.ones(len(field.labels))
    return resample(field.labels, said, len(field.parents), field.nuclei.images, ones)


def lizard(nuclei: Annotations) -> Iterator[Table]:
    """Mean F1 of Lizard's six classes by the number of marks, on patients or images left out."""
    known = nuclei.fine > 0
    field = Field(nuclei[known], nuclei.fine[known].astype(np.int64) - 1, _LIZARD_PARENTS)
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
            for fold in folds:
                out = inside & np.isin(place, fold)
                said[out] = try_out(
                    field.only(~np.isin(place, fold)), field.only(out), number, 0
                ).head
            scores = _scores(field.only(inside), said[inside])
            rows.append(
                (f"{number:,}", str(scores.mean), *(f"{e.value:.2f}" for e in scores.classes))
            )
        counts = np.bincount(field.labels[inside], minlength=len(_LIZARD))
        rows.append(("nuclei scored", "", *(f"{count:,}" for count in counts)))
        yield Table(
            f"Lizard's six classes in {source}, {len(own)} groups left out in turn; marks of "
            f"{len(groups)} groups",
            ("marks", "mean F1", *_LIZARD),
            tuple(rows),
        )


def _five(nuclei: Annotations) -> Field:
    known = np.isin(nuclei.allowed, 2 << _FIVE)
    labels = np.log2(nuclei.allowed[known]).astype(np.int64) - 1
    return Field(nuclei[known], labels, _FIVE)


def tissue(nuclei: Annotations) -> Iterator[Table]:
    """Where the network's classes are wrong, and what few marks win back."""
    field = _five(nuclei)
    rows, wrong = [], []
    for source in np.unique(field.nuclei.sources):
        own = field.only(field.nuclei.sources == source)
        scores = _scores(own, own.nuclei.shares.argmax(axis=1))
        rows.append(
            (
                source,
                f"{len(own.labels):,}",
                str(scores.mean),
                *("-" if np.isnan(e.value) else f"{e.value:.2f}" for e in scores.classes),
            )
        )
        if scores.mean.value < _WRONG:
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
            rows += _repair(source, own, own, number)
    for name, sources in _GATED.items():
        own = field.only(np.isin(field.nuclei.sources, sources))
        if not len(own.labels):
            continue
        shares = own.nuclei.shares.copy()
        shares[:, [_NEOPLASTIC, _INFLAMMATORY]] = shares[:, [_INFLAMMATORY, _NEOPLASTIC]]
        swapped = Annotations(**vars(own.nuclei) | {"shares": shares})
        for number in _REPAIRED:
            title = f"{name}, neoplastic and inflammatory exchanged"
            rows += _repair(title, own, Field(swapped, own.labels, _FIVE), number)
    yield Table(
        "Accuracy on the other half of the images; won back: of what the exchange has lost",
        ("", "marks", "as trained", "before", "after", "won back"),
        tuple(rows),
    )


def _repair(title: str, trained: Field, broken: Field, number: int) -> Iterator[tuple[str, ...]]:
    """Accuracy before and after, mean over draws of halves."""
    found = []
    for seed in range(_FOLDS):
        learn_from = _half(trained, seed)
        out = broken.only(~learn_from)
        if len(broken.only(learn_from).present) < 2 or not len(out.labels):
            continue
        trial = try_out(broken.only(learn_from), out, number, seed)
        sound = trained.nuclei.shares[~learn_from].argmax(axis=1)
        used = trial.head if trial.accepted else trial.network
        found.append([(said == out.labels).mean() for said in (sound, trial.network, used)])
    if not found:
        return
    sound, before, after = np.mean(found, axis=0)
    lost = sound - before
    won = f"{(after - before) / lost:.2f}" if trained is not broken else "-"
    yield title, f"{number}", f"{sound:.2f}", f"{before:.2f}", f"{after:.2f}", won


def _half(field: Field, seed: int) -> np.ndarray:
    """Nuclei in half of the groups, bool [n]."""
    groups, place = np.unique(field.nuclei.groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    return np.asarray((order < (len(groups) + 1) // 2)[place])


def gate(nuclei: Annotations, draws: int) -> Iterator[Table]:
    """How often heads are accepted, and what they gain or cost on images left out."""
    field = _five(nuclei)
    rows = []
    for name, sources in _GATED.items():
        own = field.only(np.isin(field.nuclei.sources, sources))
        if not len(own.labels):
            continue
        for number in _GATE_MARKS:
            rows.append((name, f"{number}", *_gated(own, number, draws)))
    yield Table(
        f"Heads for the network's five classes, {draws} draws of marks and of halves of the images",
        (
            "set",
            "marks",
            "network",
            "head",
            "accepted",
            "significantly worse",
            f"gain above {_WORTH_IT}",
            "of these accepted",
        ),
        tuple(rows),
    )


def _gated(field: Field, number: int, draws: int) -> tuple[str, ...]:
    network, head, accepted, worse, large, caught = [], [], 0, 0, 0, 0
    for seed in range(draws):
        learn_from = _half(field, seed)
        out = field.only(~learn_from)
        trial = try_out(field.only(learn_from), out, number, seed)
        before, after = _scores(out, trial.network), _scores(out, trial.head)
        gain = estimate(after.gain(before))
        network.append(before.mean.value)
        head.append(after.mean.value)
        accepted += trial.accepted
        worse += trial.accepted and gain.high < 0
        large += gain.value > _WORTH_IT
        caught += trial.accepted and gain.value > _WORTH_IT
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
    if "lizard" in parts:
        show(lizard(nuclei))
    if "tissue" in parts:
        show(tissue(nuclei))
    if "gate" in parts:
        show(gate(nuclei, arguments.draws))
    return 0


if __name__ == "__main__":
    sys.exit(main())
