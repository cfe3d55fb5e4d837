"""Heads fitted to marks drawn from annotated nuclei, and what they answer for other nuclei."""

from __future__ import annotations

import os
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from training.evaluation.nucleus_features import Annotations
from tsfd_client.classes.fit import FEWEST_MARKS
from tsfd_client.classes.head import prior
from tsfd_client.classes.judgement import fit, judge
from tsfd_client.classes.marked import MarkedNuclei, Nuclei
from tsfd_client.classes.scores import Resampled, resample

_AROUND = 4000
_HARDLY = 1e-9


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
    """A draw of marks from a field, and the nuclei to answer for.

    Attributes
    ----------
    field
        All nuclei.
    learned, left_out
        bool [n], where marks are drawn, and what is answered for.
    number
        Marks of each class, if there are so many.
    seed
        Of the draw.
    """

    field: Field
    learned: np.ndarray
    left_out: np.ndarray
    number: int
    seed: int


@dataclass(frozen=True, eq=False)
class Answers:
    """Classes by the network and by the head, int64 [left out], and whether it was accepted."""

    network: np.ndarray
    head: np.ndarray
    accepted: bool


def workers() -> Executor:
    """A process for each core, without threads of their own."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    return ProcessPoolExecutor(mp_context=get_context("spawn"))


def try_out(trial: Trial) -> Answers:
    """Fit a head to the marks; let it and the network answer for what is left out."""
    rng = np.random.default_rng(trial.seed)
    learned, left_out = trial.field.only(trial.learned), trial.field.only(trial.left_out)
    marked, around = learned.marks(trial.number, rng), learned.around(rng)
    names = learned.present
    parents = trial.field.parents[names]
    judged = judge(marked, around, parents)
    head = fit(marked, around, parents, judged)
    return Answers(
        _by_network(left_out, names),
        names[head.logits(left_out.nuclei).argmax(axis=1)],
        judged.accepted,
    )


def _by_network(field: Field, names: np.ndarray) -> np.ndarray:
    """The network's answers; of classes that it does not tell apart, always the commonest."""
    counts = np.bincount(field.labels, minlength=len(field.parents))[names]
    logits = prior(field.nuclei.shares, field.parents[names]) + _HARDLY * counts
    return np.asarray(names[logits.argmax(axis=1)])


def scores(field: Field, said: np.ndarray) -> Resampled:
    """F1 of answers, resampled by image."""
    ones = np.ones(len(field.labels))
    return resample(field.labels, said, len(field.parents), field.nuclei.images, ones)
