"""From marks on results to a file of classes: read, match, ask for features, learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from tsfd_client.classes.assignment import by_image, slides_of
from tsfd_client.classes.features import features_of, scaled_for, split
from tsfd_client.classes.fit import Base, Lesson, learn
from tsfd_client.classes.head import OwnClass
from tsfd_client.classes.labels import (
    NOT_A_NUCLEUS,
    RESERVED_COLOURS,
    Colour,
    colours,
    key,
    spellings,
)
from tsfd_client.classes.marked import MarkedNuclei
from tsfd_client.classes.marks import Mark, Marks, read_marks
from tsfd_client.classes.matching import (
    Marked,
    centroids_of,
    distinct,
    match,
    said_by_people,
)
from tsfd_client.errors import TsfdError
from tsfd_client.files import MARKS, PARQUET
from tsfd_client.nuclei.table import count, read_info
from tsfd_client.pixels.opening import open_image_of
from tsfd_client.release import Release
from tsfd_client.server.client import Client

_MOSTLY: Final = 0.5  # share of a new class's marks that the network gives one class
_NAMED: Final = 3  # slides, or results, that a message names


@dataclass
class Taken:
    """What was made of the marks of some results.

    Attributes
    ----------
    marked
        The marked nuclei by the result's name; of results of one image, all by one name.
    together
        Names of results of one image, whose marks are taken as those of one.
    problems
        For each mark that cannot be used, a sentence that names it.
    strangers
        Slides that marks name, and that are none of the results.
    kept
        Classes of the network that have no marks and stay.
    parents
        The network's class that each other class refines; None for none.
    held
        Where a class has marks on nuclei of a class that is kept: both names, the number of these
        marks, and that of all marks of the class.
    lost
        Classes of the results that are not the network's and have no marks.
    """

    marked: dict[str, Marked] = field(default_factory=dict)
    together: list[list[str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    parents: dict[str, str | None] = field(default_factory=dict)
    held: list[tuple[str, str, int, int]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def nuclei(self) -> int:
        """Number of marked nuclei."""
        return sum(len(m.rows) + len(m.not_nuclei) for m in self.marked.values())

    @property
    def misses(self) -> int:
        """Number of marks with a class that are on no nucleus."""
        return sum(len(marked.misses) for marked in self.marked.values())

    @property
    def missing(self) -> int:
        """Number of nuclei marked as missing."""
        return sum(len(marked.missing) for marked in self.marked.values())


def adapt(
    results: Mapping[str, Path],
    annotations: Sequence[Path],
    client: Client,
    taken: Taken,
    *,
    without: Sequence[str] = (),
) -> Lesson:
    """Learn classes from the marks on some results.

    Parameters
    ----------
    results
        Folders of finished results by name; marks beside them are read.
    annotations
        More files of marks.
    client
        A server of the network that found the nuclei, or another one at the same scale.
    taken
        Receives what is made of the marks, also if nothing can be learned.
    without
        Classes of the network that are not kept if they have no marks.

    Raises
    ------
    TsfdError
        If there are no marks, too few of a class, or a result, an image or a file of marks cannot
        be used.
    ServerUnavailableError, ServerError
        If the server cannot be reached or gives no features.
    """
    release = client.check().release
    client.check_features()
    _check_names(without, release)
    images = by_image(results)
    marks = _read(results, images, annotations)
    spelt = spellings((mark.label for mark in marks.marks), release.network_classes)
    taken.problems += marks.problems
    taken.strangers += marks.strangers
    known: dict[str, Colour] = {}
    found: list[MarkedNuclei] = []
    chosen: list[np.ndarray] = []
    labels: list[str] = []
    for names in images:
        own = _marks_of(names, marks, results)
        if not own:
            continue
        # Relabelling leaves nuclei out, never adds any.
        name = max(names, key=lambda name: count(results[name] / PARQUET))
        folder = results[name]
        matched = match(own, folder / PARQUET, spelt)
        taken.marked[name] = matched
        if len(names) > 1:
            taken.together.append(names)
        taken.problems += matched.problems
        named = matched.labels + [NOT_A_NUCLEUS] * len(matched.not_nuclei)
        if named:
            rows = np.concatenate([matched.rows, matched.not_nuclei]).astype(np.int64)
            nuclei, own_rows = _nuclei(folder, rows, name, client, release)
            chosen.append(own_rows + sum(len(part) for part in found))
            found.append(nuclei)
            labels += named
            known |= read_info(folder / PARQUET).release.colours
    if not labels:
        raise TsfdError(_why_nothing(marks, taken, results))
    around = _joined(found)
    marked = around[np.concatenate(chosen)]
    names = _names(labels, marked, taken, release.network_classes, without)
    # A class of the network that is not served has the colour that it has in the results.
    said = [(spelt[key(mark.label)], mark.colour) for mark in marks.marks]
    said += [(name, None) for name in release.network_classes]
    classes = _classes(names, taken, colours(said, known | release.colours))
    taken.held = _held(labels, marked, taken.kept, release.network_classes)
    there = {key(name) for name in (*release.network_classes, *labels)}
    taken.lost = [name for name in known if key(name) not in there]
    numbers = {kind.name: number for number, kind in enumerate(classes)}
    marked = replace(marked, labels=np.array([numbers[label] for label in labels]))
    base = Base(release.served, release.digests["weights_sha256"], release.network_classes)
    lesson = learn(marked, around, classes, base)
    if lesson.head is not None:
        lesson = replace(lesson, head=replace(lesson.head, figures=_figures(lesson)))
    return lesson


def _why_nothing(marks: Marks, taken: Taken, results: Mapping[str, Path]) -> str:
    """A sentence that says why no mark is on a nucleus, and what to do."""
    if taken.misses:
        return "No mark is on a nucleus, and without one nothing can be learned."
    if taken.missing:
        return (
            "All marks are of missing nuclei, from which no class can be learned: mark nuclei "
            "that are outlined, too."
        )
    if marks.marks and not taken.marked:
        return (
            "All detections still have the class that they were found with, which says nothing: "
            "give some of them another class, or confirm it with points."
        )
    if marks.marks:
        return "No mark is on a nucleus: what is wrong with each is said above."
    if marks.strangers:
        return (
            f"All marks are of slides that are none of these results: they name "
            f"{_some(dict.fromkeys(marks.strangers))}, and the results are called "
            f"{_some(results)}. Names are compared with their capitals, without folders."
        )
    if marks.problems:
        return "None of the marks can be used: what is wrong with each is said above."
    return "There are no marks: mark nuclei in `tsfd view`, or name a file with --annotations."


def _some(names: Iterable[str]) -> str:
    first, *more = map(repr, names)
    return ", ".join([first, *more[: _NAMED - 1], *(["..."] if len(more) >= _NAMED else [])])


def _check_names(without: Sequence[str], release: Release) -> None:
    unknown = set(without) - set(release.network_classes)
    if unknown:
        raise TsfdError(
            f"The network has no class {unknown.pop()!r}: --without takes "
            f"{', '.join(release.network_classes)}."
        )


def _read(
    results: Mapping[str, Path], images: Sequence[Sequence[str]], annotations: Sequence[Path]
) -> Marks:
    slides = slides_of(results, images)
    marks = Marks()
    for name, folder in results.items():
        if (folder / MARKS).is_file():
            marks += read_marks(folder / MARKS, {name: slides[name]})
    for path in annotations:
        marks += read_marks(path, slides)
    return marks


def _marks_of(names: Sequence[str], marks: Marks, results: Mapping[str, Path]) -> list[Mark]:
    """Marks on an image, each once."""
    found: list[Mark] = []
    for name in names:
        own = [mark for mark in marks.marks if mark.slide == name]
        found += said_by_people(own, results[name] / PARQUET)
    return distinct(found)


def _nuclei(
    folder: Path, rows: np.ndarray, name: str, client: Client, release: Release
) -> tuple[MarkedNuclei, np.ndarray]:
    """All nuclei in the tiles of marked ones, not numbered yet, and which of them `rows` are."""
    parquet = folder / PARQUET
    with open_image_of(folder) as slide:
        parts = list(features_of(folder, scaled_for(folder, slide, client), client, rows + 1))
        client.check_unchanged()
    ids = np.concatenate([part for part, _ in parts])
    nuclei = split(np.concatenate([values for _, values in parts]), len(release.network_classes))
    place = np.empty(ids.max() + 1, np.int64)
    place[ids] = np.arange(len(ids))
    around = MarkedNuclei(
        nuclei.features,
        nuclei.shares,
        np.zeros(len(ids), np.int64),
        np.full(len(ids), name),
        centroids_of(parquet)[ids - 1] * read_info(parquet).mpp,
    )
    return around, place[rows + 1]


def _names(
    labels: Sequence[str],
    marked: MarkedNuclei,
    taken: Taken,
    network: Sequence[str],
    without: Sequence[str],
) -> list[str]:
    """Names of the classes to learn, the network's first; notes in `taken` what each comes from.

    A class of the network without marks stays, unless it is unwanted or others refine it: they take
    its place.
    """
    own = [name for name in dict.fromkeys(labels) if name != NOT_A_NUCLEUS]
    for name in own:
        taken.parents[name] = name if name in network else _parent(name, labels, marked, network)
    replaced = {*taken.parents.values(), *own, *without}
    taken.kept = [name for name in network if name not in replaced]
    taken.parents |= {name: name for name in taken.kept}
    new = [name for name in own if name not in network]
    return [
        *(name for name in network if name in taken.parents),
        *new,
        *([NOT_A_NUCLEUS] if NOT_A_NUCLEUS in labels else []),
    ]


def _classes(
    names: Sequence[str], taken: Taken, given: Mapping[str, Colour]
) -> tuple[OwnClass, ...]:
    return tuple(
        OwnClass(name, RESERVED_COLOURS[name], None, excluded=True)
        if name == NOT_A_NUCLEUS
        else OwnClass(name, given[name], taken.parents[name], learned=name not in taken.kept)
        for name in names
    )


def _parent(
    name: str, labels: Sequence[str], marked: MarkedNuclei, network: Sequence[str]
) -> str | None:
    """What the network calls most nuclei of a new class, if it agrees with itself."""
    own = marked.shares[np.array(labels) == name].argmax(axis=1)
    counts = np.bincount(own, minlength=len(network))
    return network[int(counts.argmax())] if counts.max() > _MOSTLY * len(own) else None


def _held(
    labels: Sequence[str], marked: MarkedNuclei, kept: Sequence[str], network: Sequence[str]
) -> list[tuple[str, str, int, int]]:
    said = [network[k] for k in marked.shares.argmax(axis=1).tolist()]
    pairs, marks = Counter(zip(labels, said, strict=True)), Counter(labels)
    return [(*pair, number, marks[pair[0]]) for pair, number in pairs.items() if pair[1] in kept]


def _figures(lesson: Lesson) -> dict[str, Any]:
    """What the file says of its classes: marks, and F1 on what was left out, before and after."""
    judged = lesson.judgement
    return {
        "verdict": lesson.verdict,
        "classes": {
            kind.name: {"marks": int(marks), "f1_before": before.value, "f1_after": after.value}
            for kind, marks, before, after in zip(
                lesson.classes,
                lesson.marks,
                judged.before.classes,
                judged.after.classes,
                strict=True,
            )
            if kind.learned
        },
    }


def _joined(parts: Sequence[MarkedNuclei]) -> MarkedNuclei:
    names = ("features", "shares", "labels", "slides", "places")
    return MarkedNuclei(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))
