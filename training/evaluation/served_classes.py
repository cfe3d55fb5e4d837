"""Classes of one's own as they are served: the part ``served`` of `make evaluate-classes`.

The annotators' nuclei of some images, at their centres, are the marks. They take the product's
road: matching to the nuclei that the network finds, features, fit and gate. The head goes into a
file as `tsfd adapt` writes it, and the network that it makes segments the other images. Centroids
are paired within 12 pixels, and F1 is Hover-Net's F_c (`training.evaluation.detection`).

Beside it are what the head says of the same nuclei from their features, the share of nuclei that
are named the same, and the head's F1 given the nucleus. Intervals are 95 %, bootstrapped over
images. The figures of the shipped weights are in docs/notes/classes.md.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np

from metrics.estimates import Part, nanmean, resamples
from training.data.manifest import examine
from training.evaluation import served
from training.evaluation.detection import class_detection, pair
from training.evaluation.found_nuclei import Found, find
from training.evaluation.image_scores import centroids
from training.evaluation.in_process import segment_all
from training.exported import file_sha256
from training.model import weights
from training.table import Table
from training.target import CLASSES, PANNUKE
from tsfd_client.classes.features import split
from tsfd_client.classes.fit import FEWEST_MARKS, Base, learn
from tsfd_client.classes.head import Head, OwnClass, save
from tsfd_client.classes.labels import PALETTE, spellings
from tsfd_client.classes.marked import MarkedNuclei, Nuclei
from tsfd_client.classes.marks import Mark
from tsfd_client.classes.matching import match
from tsfd_client.classes.scores import Estimate, estimate, resample
from tsfd_client.errors import TsfdError
from tsfd_client.nuclei.result import Nuclei as Segmented
from tsfd_client.server.client import Client

_FIVE = tuple(OwnClass(c.name, c.colour, c.name) for c in PANNUKE.classes)
_LIZARD = tuple(
    OwnClass(name, PALETTE[number], parent)
    for number, (name, parent) in enumerate(
        (
            ("neutrophil", "inflammatory"),
            ("epithelial cell", "neoplastic"),
            ("lymphocyte", "inflammatory"),
            ("plasma cell", "inflammatory"),
            ("eosinophil", "inflammatory"),
            ("connective cell", "connective"),
        )
    )
)
_AS_IT_IS = [0, 1, 2, 3, 4]
_EXCHANGED = [1, 0, 2, 3, 4]
"""The network's classes, with neoplastic and inflammatory exchanged."""
_SETS = {
    "CoNSeP": ("consep",),
    "PanNuke": ("pannuke_breast", "pannuke10", "pannuke_uterus"),
    "GlaS": ("lizard_glas",),
}
_OF_CLASSES = ("class_smooth/", "class_learned/", "class_logits/")
"""Layers of a network with one channel for each class and the background."""
_OF_A_PATIENT = 2
_LEFT_OUT = ("glas_patient_1", "glas_patient_10", "glas_patient_11", "glas_patient_13")
_ALL = 10**9
_SAME = 3.0  # pixels between the centroids of a nucleus that was found twice


@dataclass(frozen=True, eq=False)
class Image:
    """An image with the nuclei that the network finds and those that were annotated.

    Attributes
    ----------
    found
        The former.
    points, labels, given
        Of the latter: float64 [n, 2], x and y in pixels; int64 [n], index of the class, -1 where it
        is not known; float16 [n, F + C], their features, NaN for those of a few pixels.
    """

    found: Found
    points: np.ndarray
    labels: np.ndarray
    given: np.ndarray


@dataclass(frozen=True, eq=False)
class Case:
    """Classes to learn from the marks on some images, and to score on others.

    Attributes
    ----------
    name, marks
        Of the case, and how many marks each class gets.
    classes
        K classes.
    order
        The network's classes, by which of the shipped network's they are.
    learned, left_out
        The images.
    """

    name: str
    marks: int
    classes: tuple[OwnClass, ...]
    order: list[int]
    learned: list[Image]
    left_out: list[Image]

    def nuclei(self, features: np.ndarray) -> Nuclei:
        """Features of nuclei, float16 [n, F + C], with the shares of this network."""
        nuclei = split(features, len(_FIVE))
        return Nuclei(nuclei.features, nuclei.shares[:, self.order])


@dataclass(frozen=True, eq=False)
class Answers:
    """Nuclei named right and wrong, float64 [images, K].

    Attributes
    ----------
    right
        Twice the pairs of a class.
    wrong
        The errors that lower its F1.
    annotated
        Annotated nuclei of the class.
    """

    right: np.ndarray
    wrong: np.ndarray
    annotated: np.ndarray

    @property
    def f1(self) -> Estimate:
        """Mean F1 over the classes that are annotated."""
        drawn = resamples(len(self.right))
        found = [
            np.where(drawn @ annotated > 0, Part(right, right + wrong).resampled(drawn), np.nan)
            for right, wrong, annotated in zip(*(a.T for a in vars(self).values()), strict=True)
        ]
        return estimate(nanmean(found))


@dataclass(frozen=True, eq=False)
class Trial:
    """What a head was worth on the images left out.

    Attributes
    ----------
    accepted
        Whether it passed the gate. If not, the network's classes are served.
    network, served, fitted
        Answers of the network, as served, and of the head for the nuclei found.
    same
        bool [n], whether a nucleus is served as the head says.
    given
        Class of annotated nuclei, the head's answer and the image: int64 [n], int64 [n], str [n].
    """

    accepted: bool
    network: Answers
    served: Answers
    fitted: Answers
    same: np.ndarray
    given: tuple[np.ndarray, np.ndarray, np.ndarray]


class Bench:
    """Tries heads on the images of a manifest.

    Parameters
    ----------
    folder, entries
        Of the manifest.
    path
        Weights file.
    kept
        Folder for what the network said and for the heads.
    client
        A server of one of these heads: only that one is tried, and the server segments.
    """

    def __init__(
        self,
        folder: Path,
        entries: Sequence[dict],
        path: Path,
        kept: Path,
        client: Client | None = None,
    ) -> None:
        self._folder, self._entries, self._path, self._kept = folder, entries, path, kept
        self._client = client
        self._heads = kept / "heads"
        self._heads.mkdir(parents=True, exist_ok=True)
        # Beside the heads, where they are looked for.
        self._networks = {False: self._heads / "network.npz", True: self._heads / "exchanged.npz"}
        shutil.copyfile(path, self._networks[False])
        _exchange(path, self._networks[True])

    def tables(self) -> Iterator[Table]:
        """Try all cases.

        Raises
        ------
        TsfdError
            If the server cannot be reached, or serves none of the heads.
        """
        served_any = False
        for cases in self._cases():
            for row in self._row(cases):
                served_any = True
                yield Table(
                    f"{row[0]}, as served on images left out: mean F1 of detection with the class",
                    (
                        *("", "marks", "accepted", "network", "served", "head on the same nuclei"),
                        *("named the same", "given the nucleus"),
                    ),
                    (row,),
                )
        if not served_any and self._client:
            raise TsfdError(
                f"The server at {self._client.url} serves none of the heads in {self._heads}: "
                "convert one of them, and start it again."
            )

    def _cases(self) -> Iterator[list[Case]]:
        """The cases of each row."""
        for title, sources in _SETS.items():
            for marks in (10, 50):
                yield [self._halves(f"{title}, exchanged", sources, marks, _EXCHANGED)]
        for marks in (10, 50):
            yield [self._halves("nucls15", ("nucls15",), marks, _AS_IT_IS)]
        for marks in (100, _ALL):
            yield self._patients(marks)

    def _patients(self, marks: int) -> list[Case]:
        """Lizard's classes in GlaS, some patients left out in turn."""
        images = self._images(_SETS["GlaS"], is_lizard=True)
        cases = []
        for patient in _LEFT_OUT:
            own = [image for image in images if image.found.entry["group"] == patient]
            others = [image for image in images if image.found.entry["group"] != patient]
            cases.append(Case(f"Lizard, {patient}", marks, _LIZARD, _AS_IT_IS, others, own))
        return cases

    def _halves(self, name: str, sources: Sequence[str], marks: int, order: list[int]) -> Case:
        images = self._images(sources)
        groups = sorted({image.found.entry["group"] for image in images})
        drawn = np.random.default_rng(0).permutation(groups)[: (len(groups) + 1) // 2]
        learned = [image for image in images if image.found.entry["group"] in drawn]
        left_out = [image for image in images if image.found.entry["group"] not in drawn]
        return Case(name, marks, _FIVE, order, learned, left_out)

    def _images(self, sources: Sequence[str], *, is_lizard: bool = False) -> list[Image]:
        entries = few([entry for entry in self._entries if entry["set"] in sources])
        return [
            _image(self._folder, found, is_lizard=is_lizard)
            for found in find(self._folder, entries, self._path, self._kept)
        ]

    def _row(self, cases: Sequence[Case]) -> Iterator[tuple[str, ...]]:
        trials = [trial for trial in map(self._try, cases) if trial]
        if not trials:
            return
        true, said, images = (
            np.concatenate(parts) for parts in zip(*(t.given for t in trials), strict=True)
        )
        given = resample(true, said, len(cases[0].classes), images, np.ones(len(true)))
        same = np.concatenate([trial.same for trial in trials])
        yield (
            cases[0].name.partition(", glas")[0],
            "all" if cases[0].marks == _ALL else f"{cases[0].marks}",
            f"{sum(trial.accepted for trial in trials)} of {len(trials)}",
            *(
                str(_joined([getattr(trial, way) for trial in trials]).f1)
                for way in ("network", "served", "fitted")
            ),
            f"{same.mean():.3f}" if len(same) else "-",
            str(given.mean),
        )

    def _try(self, case: Case) -> Trial | None:
        """Learn and score; None if another head is served than this one."""
        network = self._networks[case.order == _EXCHANGED]
        marked, around, classes = _marks(case)
        base = Base(network.stem, file_sha256(network), CLASSES[1:])
        head = learn(marked, around, classes, base).head
        if not head:
            return None if self._client else self._score(case, None, None)
        name = f"{case.name} {'all' if case.marks == _ALL else case.marks}"
        path = self._heads / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.npz"
        save(head, path)
        if self._client and not self._is_served(path):
            return None
        return self._score(case, head, path)

    def _is_served(self, path: Path) -> bool:
        return self._client.release().digests.get("classes_sha256") == file_sha256(path)

    def _score(self, case: Case, head: Head | None, path: Path | None) -> Trial:
        """Without a head, the network's answers count in its place."""
        pixels = (examine(self._folder, i.found.entry).annotated.image for i in case.left_out)
        segmented = self._segment(path, pixels) if path else repeat(None)
        network, as_served, fitted, same, given = [], [], [], [], []
        for image, nuclei in zip(case.left_out, segmented, strict=False):
            places, features = image.found.centroids, image.found.features
            network.append(_answers(case, image, places, _said(case, None, features)))
            said = _said(case, head, features)
            fitted.append(_answers(case, image, places, said))
            if nuclei:
                named = _numbers(nuclei.class_names, case)
                as_served.append(_answers(case, image, nuclei.centroids, named))
                twice = pair(places, nuclei.centroids, radius=_SAME)
                same.append(said[twice.truth] == named[twice.predicted])
            known = (image.labels >= 0) & np.isfinite(image.given).all(axis=1)
            answer = _said(case, head, image.given[known])
            names = np.full(known.sum(), image.found.entry["image"])
            given.append((image.labels[known], answer, names))
        return Trial(
            accepted=head is not None,
            network=_joined(network),
            served=_joined(as_served or fitted),
            fitted=_joined(fitted),
            same=np.concatenate([np.empty(0, bool), *same]),
            given=tuple(np.concatenate(parts) for parts in zip(*given, strict=True)),
        )

    def _segment(self, path: Path, images: Iterable[np.ndarray]) -> Iterator[Segmented]:
        if self._client:
            return served.segment_all(self._client, images)
        network, _ = weights.load(path)
        return segment_all(network, images, weights.parameters(path), weights.target(path))


def few(entries: Sequence[dict]) -> list[dict]:
    """Two images of a patient, and half of CoNSeP's, since all would take an hour."""
    of_group = Counter[str]()
    chosen = []
    for entry in entries:
        of_group[entry["group"]] += 1
        if of_group[entry["group"]] <= _OF_A_PATIENT:
            chosen.append(entry)
    halved = [entry for entry in chosen if entry["set"] == "consep"][1::2]
    return [entry for entry in chosen if entry not in halved]


def _exchange(path: Path, exchanged: Path) -> None:
    """Write weights whose classes neoplastic and inflammatory are exchanged."""
    with np.load(path) as file:
        arrays = dict(file)
    order = [0, *(1 + k for k in _EXCHANGED)]
    for name, values in arrays.items():
        if name.startswith(_OF_CLASSES):
            axis = values.shape.index(len(order))
            arrays[name] = np.take(values, order, axis)
    np.savez(exchanged, **arrays)


def _image(folder: Path, found: Found, *, is_lizard: bool) -> Image:
    annotated = examine(folder, found.entry).annotated
    ids, points = centroids(annotated.instances)
    if is_lizard:
        with np.load(folder / found.entry["masks"]) as masks:
            labels = masks["fine"][ids - 1].astype(np.int64) - 1
    else:
        of_allowed = np.full(256, -1)
        of_allowed[[2 << k for k in range(len(_FIVE))]] = range(len(_FIVE))
        labels = of_allowed[annotated.allowed[ids]]
    return Image(found, points, labels, found.given[ids])


def _said(case: Case, head: Head | None, features: np.ndarray) -> np.ndarray:
    """What a head, or the network without one, says of nuclei: int64 [n], index of the class."""
    nuclei = case.nuclei(features)
    if head:
        names, logits = head.names, head.logits(nuclei.features, nuclei.shares)
    else:
        names, logits = CLASSES[1:], nuclei.shares
    return _numbers(names, case)[logits.argmax(axis=1)]


def _marks(case: Case) -> tuple[MarkedNuclei, Nuclei, tuple[OwnClass, ...]]:
    """Draw marks and find their nuclei; with all nuclei of these images, and the classes marked."""
    names = [kind.name for kind in case.classes]
    drawn = _drawn(case)
    spelt = spellings(names, CLASSES[1:])
    found: list[MarkedNuclei] = []
    around: list[Nuclei] = []
    for image, chosen in zip(case.learned, drawn, strict=True):
        entry, where = image.found.entry, image.found.parquet
        marks = [
            Mark(entry["image"], names[image.labels[i]], "point", where, i, *image.points[i])
            for i in chosen.tolist()
        ]
        matched = match(marks, where, spelt)
        nuclei, places = case.nuclei(image.found.features), image.found.centroids
        around.append(nuclei)
        found.append(
            MarkedNuclei(
                nuclei.features[matched.rows],
                nuclei.shares[matched.rows],
                _numbers(matched.labels, case),
                np.full(len(matched.rows), entry["group"]),
                PANNUKE.mpp * places[matched.rows],
            )
        )
    marked = MarkedNuclei(*_concatenated(found))
    known = np.flatnonzero(marked.counts(len(names)) >= FEWEST_MARKS)
    marked = marked[np.isin(marked.labels, known)]
    marked.labels[:] = np.searchsorted(known, marked.labels)
    others = Nuclei(*_concatenated(around))
    return marked, others, tuple(case.classes[k] for k in known)


def _concatenated(parts: Sequence[Nuclei]) -> list[np.ndarray]:
    """The arrays of several nuclei, one after the other."""
    return [
        np.concatenate(arrays) for arrays in zip(*(vars(p).values() for p in parts), strict=True)
    ]


def _drawn(case: Case) -> list[np.ndarray]:
    """By image, the annotated nuclei that are marked: as many of each class, if there are."""
    labels = np.concatenate([image.labels for image in case.learned])
    ends = np.cumsum([len(image.labels) for image in case.learned])
    order = np.random.default_rng(0).permutation(len(labels))
    marked = np.zeros(len(labels), bool)
    for k in range(len(case.classes)):
        marked[order[labels[order] == k][: case.marks]] = True
    return [np.flatnonzero(part) for part in np.split(marked, ends[:-1])]


def _numbers(names: Sequence[str], case: Case) -> np.ndarray:
    """Index of each name among the case's classes, int64 [n]; -1 for none."""
    index = {kind.name: number for number, kind in enumerate(case.classes)}
    return np.array([index.get(name, -1) for name in names], np.int64)


def _answers(case: Case, image: Image, points: np.ndarray, said: np.ndarray) -> Answers:
    numbers = range(1, 1 + len(case.classes))
    pairs = pair(image.points, points)
    found = class_detection(pairs, 1 + image.labels, 1 + said, classes=numbers).values()
    right = [2.0 * c.tp for c in found]
    wrong = [float(c.superfluous + c.missed) for c in found]
    annotated = [float((image.labels == k).sum()) for k in range(len(case.classes))]
    return Answers(*(np.array([counts]) for counts in (right, wrong, annotated)))


def _joined(parts: Sequence[Answers]) -> Answers:
    return Answers(*map(np.concatenate, zip(*(vars(p).values() for p in parts), strict=True)))
