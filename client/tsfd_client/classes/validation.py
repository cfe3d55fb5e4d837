"""Cross-validation: what a head is worth on slides, or regions, that it has not seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tsfd_client.classes.head import keep, log_shares, prior
from tsfd_client.classes.logistic import shared_out, solve
from tsfd_client.classes.marked import Groups, MarkedNuclei, Nuclei
from tsfd_client.classes.scores import surprise

STRENGTHS: Final = (10_000.0, 3_000.0, 1_000.0, 300.0, 100.0, 30.0, 10.0)
"""Of the penalty, strongest first; without any change a fit is worth as much as the network."""
_FOLDS: Final = 10
_TINY: Final = 1e-3


@dataclass(frozen=True, eq=False)
class Validation:
    """Logits of marked nuclei by heads that were fitted without their group.

    Attributes
    ----------
    network
        float64 [n, K], of the network itself.
    heads
        float64 [strengths, n, K].
    excess
        float64 [strengths, K]: as of `tsfd_client.classes.logistic.Linear`, mean over the folds.
    """

    network: np.ndarray
    heads: np.ndarray
    excess: np.ndarray

    def surprise(self, labels: np.ndarray) -> np.ndarray:
        """Mean negative log probability of the marked class at each strength, float64 [s]."""
        return np.asarray(surprise(self.heads + self.excess[:, None], labels).mean(axis=1))


def cross_validate(
    marked: MarkedNuclei,
    around: Nuclei,
    groups: Groups,
    parents: np.ndarray,
    strengths: tuple[float, ...] = STRENGTHS,
    used: np.ndarray | None = None,
    kept: np.ndarray | None = None,
) -> Validation:
    """Fit without each fold of the groups and predict it.

    Parameters
    ----------
    marked, around, parents, strengths
        As of `tsfd_client.classes.logistic.solve`.
    groups
        What is left out together.
    used
        bool [n], the nuclei to fit to; all by default. All are predicted.
    kept
        int [K], as of `tsfd_client.classes.head.keep`; none by default.
    """
    classes, logs = len(parents), log_shares(marked.shares)
    kept = np.full(classes, -1) if kept is None else kept
    counts = marked.counts(classes)
    network = prior(marked.shares, parents)
    network[:, counts > 0] += shared_out(counts[counts > 0], parents[counts > 0], logs.shape[1])
    heads = np.repeat(network[None], len(strengths), axis=0)
    excess, fits = np.zeros((len(strengths), classes)), np.zeros(classes)
    for out in folds(marked.labels, groups):
        # Of a class that is marked in this fold only, nothing is known but what the network says.
        inside, known = chosen(marked, ~out if used is None else ~out & used)
        if len(known) < 2:
            continue
        fitted = solve(inside, around, parents[known], strengths, kept[kept >= 0])
        for row, head in enumerate(fitted):
            heads[row][np.ix_(out, known)] = head.logits(marked[out])
            excess[row, known] += head.excess
            fits[known] += 1 / len(strengths)
    return Validation(
        keep(network, logs, kept), keep(heads, logs, kept), excess / np.maximum(fits, 1)
    )


def chosen(marked: MarkedNuclei, used: np.ndarray) -> tuple[MarkedNuclei, np.ndarray]:
    """Some nuclei, bool [n], with their classes numbered anew; old numbers, int64 [k]."""
    known, labels = np.unique(marked.labels[used], return_inverse=True)
    return replace(marked[used], labels=labels), known


def folds(labels: np.ndarray, groups: Groups) -> Iterator[np.ndarray]:
    """Divide groups into folds with similar numbers of each class; bool [n], true in the fold.

    Large groups are dealt first, each to the fold that has fewest of its classes.
    """
    kinds = int(labels.max()) + 1
    counts = np.zeros((groups.number, kinds))
    np.add.at(counts, (groups.of, labels), 1)
    counts /= np.maximum(counts.sum(axis=0), 1)
    number = min(_FOLDS, groups.number)
    sums, fold = np.zeros((number, kinds)), np.zeros(groups.number, np.int64)
    for group in np.argsort(-counts.sum(axis=1), kind="stable"):
        fold[group] = (sums @ counts[group] + _TINY * sums.sum(axis=1)).argmin()
        sums[fold[group]] += counts[group]
    yield from (fold[groups.of] == each for each in range(number))
