"""Whether a head is worth more than the network: both answer for marks that were left out.

Each class is charged with one more mark, which the network has right and the head wrong. That ten
marks of a class are right leaves open whether the eleventh is, and where nearly all nuclei are of
one class, a few such mistakes cost more than all else gains. The head is accepted if it is better
nevertheless, in mean F1 or in log score, on 90 % of the bootstrap resamples of slides or regions.
How often each class occurs decides what a mistake costs, and few marks may mislead the head about
that, as unusual tissue misleads the network. So where the head's count of the nuclei around says
90 %, the network's must say two thirds.

Log score sees a gain with fewer marks, but also where no answer changes for the better: mean F1,
without the charge, must be higher on more resamples than not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tsfd_client.classes.head import FLOOR
from tsfd_client.classes.logistic import Linear, solve
from tsfd_client.classes.marked import Groups, MarkedNuclei, Nuclei, groups
from tsfd_client.classes.scores import Resampled, confusion, resample, surprise, total
from tsfd_client.classes.validation import STRENGTHS, chosen, cross_validate

_SURE: Final = 0.9  # of the resamples, by the head's own count of the nuclei
_LIKELY: Final = 2 / 3  # by the network's
_SURPRISE: Final = 3.0  # of the mark that is charged: the head gives its class 5 %


@dataclass(frozen=True, eq=False)
class Judgement:
    """A head compared with the network on marks that were left out.

    Attributes
    ----------
    accepted
        Whether the head beats the network.
    lonely
        Classes that are marked on one slide only, though there are several.
    learned
        bool [K], the classes that the head learns. A lonely one that it does not learn has the
        network's own logit.
    kept
        int [K], as of `tsfd_client.classes.head.keep`: classes without marks.
    groups
        What was left out together.
    path
        Strengths of the penalty, down to the one chosen.
    before, after
        F1 of the network and of the head.
    confusion
        int64 [K, K], marks by the class marked (rows) and the head's.
    """

    accepted: bool
    lonely: tuple[int, ...]
    learned: np.ndarray
    kept: np.ndarray
    groups: Groups
    path: tuple[float, ...]
    before: Resampled
    after: Resampled
    confusion: np.ndarray


def judge(marked: MarkedNuclei, around: Nuclei, of_network: np.ndarray) -> Judgement:
    """Choose the strength and compare the head with the network, on groups left out.

    Parameters
    ----------
    marked, around
        As of `tsfd_client.classes.fit.learn`.
    of_network
        int [K], index of each class' parent among the network's classes, -1 for none.

    Classes without marks must be the only ones of their parents, and stay as the network finds
    them.
    """
    apart, number = groups(marked), len(of_network)
    lonely, is_marked = apart.lonely(marked.labels), marked.counts(number) > 0
    learned = _learned(lonely, is_marked, of_network)
    kept = np.where(is_marked, -1, of_network)
    validation = cross_validate(
        marked, around, apart, of_network, used=learned[marked.labels], kept=kept
    )
    best = int(validation.surprise(marked.labels).argmin())
    network, head = validation.network, validation.heads[best]
    said = head.argmax(axis=1)
    # As nuclei occur, not as they were marked.
    weights = np.exp(-validation.excess[best]) * is_marked
    before, after = (
        resample(marked.labels, answer, number, apart.of, weights[marked.labels])
        for answer in (network.argmax(axis=1), said)
    )
    lost = lonely[learned[lonely]]
    own, by_network = (
        _confidence(marked.labels, apart, network, head, np.exp(-excess) * is_marked, lost)
        for excess in (validation.excess[best], validation.excess[0])
    )
    return Judgement(
        accepted=_above_0(_lose(after, lost).gain(before)) > 1 / 2
        and own >= _SURE
        and by_network >= _LIKELY,
        lonely=tuple(lonely.tolist()),
        learned=learned,
        kept=kept,
        groups=apart,
        path=STRENGTHS[: best + 1],
        before=before,
        after=after,
        confusion=confusion(marked.labels, said, number),
    )


def fit(marked: MarkedNuclei, around: Nuclei, of_network: np.ndarray, judged: Judgement) -> Linear:
    """Fit the head that was judged to all marks of the classes that it learns."""
    kept = judged.kept
    inside, known = chosen(marked, judged.learned[marked.labels])
    found = solve(inside, around, of_network[known], judged.path, kept[kept >= 0])[-1]

    def columns(values: np.ndarray) -> np.ndarray:
        padded = np.zeros((*values.shape[:-1], len(of_network)))
        padded[..., known] = values
        return padded

    return Linear(
        of_network,
        columns(found.weights),
        columns(found.mix),
        columns(found.bias),
        columns(found.excess),
        kept,
    )


def _learned(lonely: np.ndarray, is_marked: np.ndarray, of_network: np.ndarray) -> np.ndarray:
    """The classes to learn, bool [K].

    What a lonely class looks like on other slides is unknown, so what the network says of it is
    left as it is, if the network has a class of its own for it.
    """
    parents, shared_by = np.unique(of_network, return_counts=True)
    own = np.isin(of_network, parents[(shared_by == 1) & (parents >= 0)])
    learned = is_marked.copy()
    learned[lonely[own[lonely]]] = False
    return learned if learned.sum() > 1 else is_marked


def _confidence(
    labels: np.ndarray,
    apart: Groups,
    network: np.ndarray,
    head: np.ndarray,
    weights: np.ndarray,
    lost: np.ndarray,
) -> float:
    """Share of resamples on which the head is better than the network though it is charged.

    Parameters
    ----------
    labels, apart
        Of the marks.
    network, head
        float64 [n, K].
    weights
        float64 [K], what a mark of each class counts.
    lost
        Classes that count as lost, since they are learned though lonely.
    """
    number = len(weights)
    before, after = (
        resample(
            labels,
            logits.argmax(axis=1),
            number,
            apart.of,
            weights[labels],
            weights[:, None] * charge,
        )
        for logits, charge in (
            (network, np.eye(number)),
            (head, (1 - np.eye(number)) / (number - 1)),
        )
    )
    # No mark counts more than one that the network rules out.
    surprised = np.minimum(surprise(np.stack([network, head]), labels), -np.log(FLOOR))
    saved = surprised[0] - surprised[1]
    saved[np.isin(labels, lost)] = -_SURPRISE
    in_log_score = total(saved * weights[labels], apart.of) - _SURPRISE * weights.sum()
    return max(_above_0(_lose(after, lost).gain(before)), _above_0(in_log_score))


def _lose(found: Resampled, lost: np.ndarray) -> Resampled:
    f1 = found.f1.copy()
    f1[:, lost] *= 0  # NaN where a resample has none
    return Resampled(f1)


def _above_0(resampled: np.ndarray) -> float:
    return float((resampled[1:] > 0).mean())
