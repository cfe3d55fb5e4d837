"""Learn classes of one's own from marked nuclei, and refuse what does not beat the network.

    lesson = learn(marked, around, classes, base)
    lesson.head       # None if the network is left as it is
    lesson.verdict    # why, with figures

The strength of the penalty and every figure come from cross-validation over slides or regions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tsfd_client.classes.head import FEWEST, MOST, Head, OwnClass, parents
from tsfd_client.classes.judgement import Judgement, fit, judge
from tsfd_client.classes.logistic import Linear
from tsfd_client.classes.marked import MarkedNuclei, Nuclei
from tsfd_client.classes.scores import estimate, f1
from tsfd_client.classes.validation import cross_validate
from tsfd_client.errors import TsfdError

FEWEST_MARKS: Final = 5
"""Of a class."""
MORE: Final = 20
"""Marks whose worth is estimated."""
_SHARES: Final = (1 / 8, 1 / 4, 1 / 2)  # of the marks, for the learning curve
_AROUND: Final = 4000  # nuclei that suffice to see how often classes occur
_SEED: Final = 0


@dataclass(frozen=True, eq=False)
class Point:
    """A point of the learning curve: the marks of each class, int [K], and its F1, float [K]."""

    marks: np.ndarray
    f1: np.ndarray

    @property
    def mean(self) -> float:
        """Mean F1 over the classes."""
        return float(np.nanmean(self.f1))


@dataclass(frozen=True, eq=False)
class Lesson:
    """What was learned from marks.

    Attributes
    ----------
    head
        None if the network is left as it is.
    verdict
        One sentence: whether the head is used, and the figures that decide it.
    classes
        K classes.
    marks
        int64 [K], marks of each class; 0 for those that are kept.
    judgement
        The head compared with the network.
    curve
        From few marks to all.
    worth
        float64 [K], by how much `MORE` marks of a class would raise its F1.
    """

    head: Head | None
    verdict: str
    classes: tuple[OwnClass, ...]
    marks: np.ndarray
    judgement: Judgement
    curve: tuple[Point, ...]
    worth: np.ndarray


@dataclass(frozen=True)
class Base:
    """The network that a head is fitted to: release, SHA-256 of its weights, class names."""

    release: str
    weights_sha256: str
    classes: tuple[str, ...]


def learn(
    marked: MarkedNuclei, around: Nuclei, classes: tuple[OwnClass, ...], base: Base
) -> Lesson:
    """Fit a head, cross-validate it and judge it.

    Parameters
    ----------
    marked
        Labels are indices into `classes`.
    around
        All nuclei found where nuclei were marked, to see how often each class occurs.
    classes
        2 to 30 classes. Those that are not to be learned have no marks.
    base
        The network whose features the nuclei have.

    Raises
    ------
    TsfdError
        If there are too few marks, too few or too many classes, or all of the network's are kept.
    """
    _check(marked, classes, base)
    number, of_network, sample = len(classes), parents(classes, base.classes), _sample(around)
    found = judge(marked, sample, of_network)
    curve = (
        *_few_marks(marked, sample, found, of_network),
        Point(marked.counts(number), found.after.f1[0]),
    )
    return Lesson(
        head=_head(fit(marked, sample, of_network, found), classes, base)
        if found.accepted
        else None,
        verdict=_verdict(found, classes),
        classes=classes,
        marks=marked.counts(number),
        judgement=found,
        curve=curve,
        worth=_worth(curve),
    )


def _verdict(found: Judgement, classes: tuple[OwnClass, ...]) -> str:
    gain = estimate(found.after.gain(found.before))
    figures = (
        f"mean F1 {found.before.mean.value:.2f} before, {found.after.mean.value:.2f} after, a "
        f"difference of {gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
    )
    where = f"on {found.groups.kind} left out"
    names = " and ".join(repr(classes[k].name) for k in found.lonely)
    if found.accepted:
        verdict = f"Better than the network {where}: {figures}."
        kept = " and ".join(repr(classes[k].name) for k in found.lonely if not found.learned[k])
        if kept:
            verdict += (
                f" As {kept} was marked on one slide only, the network decides what is of it: mark "
                "it on another slide, too."
            )
        return verdict
    if found.lonely:
        return (
            f"No gain can be shown ({figures}), as {names} was marked on one slide only: the "
            "network is left as it is. Mark it on another slide, too, or use the marks of one "
            "slide."
        )
    return f"No gain {where} ({figures}): the network is left as it is."


def _check(marked: MarkedNuclei, classes: tuple[OwnClass, ...], base: Base) -> None:
    learned = [kind for kind in classes if kind.learned]
    kept = [kind.name for kind in classes if not kind.learned]
    if len(learned) < FEWEST:
        name = f": all marks are {learned[0].name!r}" if learned else ""
        raise TsfdError(f"Two classes or more are needed{name}. Mark nuclei of another class, too.")
    if len(classes) > MOST:
        others = f", and {len(kept)} of the network's are kept (or --without them)" if kept else ""
        raise TsfdError(
            f"{len(learned)} classes are marked{others}: {MOST} at most can be served together."
        )
    if len(kept) == len(base.classes):
        raise TsfdError(
            "All of the network's classes are kept, which leaves no nucleus for yours: mark nuclei "
            f"of those that yours are told from, too, or leave them out (--without {kept[0]!r})."
        )
    few = [
        f"{kind.name!r} has {count}"
        for kind, count in zip(classes, marked.counts(len(classes)), strict=True)
        if kind.learned and count < FEWEST_MARKS
    ]
    if few:
        raise TsfdError(
            f"{FEWEST_MARKS} marks of a class are needed, better 30: {', '.join(few)}. Mark more "
            "of them, or leave the class out."
        )


def _sample(around: Nuclei) -> Nuclei:
    chosen = np.random.default_rng(_SEED).permutation(len(around))[:_AROUND]
    return Nuclei(around.features[chosen], around.shares[chosen])


def _head(linear: Linear, classes: tuple[OwnClass, ...], base: Base) -> Head:
    return Head(
        classes=tuple(
            replace(kind, learned=bool(kept < 0))
            for kind, kept in zip(classes, linear.kept, strict=True)
        ),
        weights=linear.weights.astype(np.float32),
        mix=linear.mix.astype(np.float32),
        bias=linear.bias.astype(np.float32),
        network_classes=base.classes,
        base=base.release,
        weights_sha256=base.weights_sha256,
    )


def _few_marks(
    marked: MarkedNuclei, around: Nuclei, judged: Judgement, of_network: np.ndarray
) -> Iterator[Point]:
    """The learning curve up to half of the marks, each share drawn from every class."""
    number = len(of_network)
    order = np.random.default_rng(_SEED).permutation(len(marked))
    place = np.empty(len(marked), np.int64)
    for k in range(number):
        own = order[marked.labels[order] == k]
        place[own] = np.arange(len(own))
    counts = marked.counts(number)
    for share in _SHARES:
        used = place < share * counts[marked.labels]
        left = marked[used].counts(number)
        if left[counts > 0].min() < FEWEST_MARKS:
            continue
        used &= judged.learned[marked.labels]
        found = cross_validate(
            marked, around, judged.groups, of_network, judged.path, used, judged.kept
        )
        counted = np.exp(-found.excess[-1])[marked.labels]
        said = found.heads[-1].argmax(axis=1)
        yield Point(left, f1(marked.labels, said, number, counted))


def _worth(curve: tuple[Point, ...]) -> np.ndarray:
    """By how much more marks would raise the F1 of each class, float64 [K].

    F1 grows about linearly with the logarithm of the number of marks, never beyond 1. NaN for
    classes without marks, and for all if the curve has one point.
    """
    worth = np.full(len(curve[0].f1), np.nan)
    if len(curve) == 1:
        return worth
    is_marked = curve[-1].marks > 0
    marks = np.array([point.marks[is_marked] for point in curve])
    logs, scores = np.log(marks), np.array([point.f1[is_marked] for point in curve])
    apart = logs - logs.mean(axis=0)
    slopes = (apart * (scores - scores.mean(axis=0))).sum(axis=0) / (apart**2).sum(axis=0)
    gains = np.maximum(slopes, 0) * np.log1p(MORE / marks[-1])
    worth[is_marked] = np.minimum(gains, 1 - scores[-1])
    return worth
