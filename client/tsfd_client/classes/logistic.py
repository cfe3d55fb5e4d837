"""Multinomial logistic regression that starts from the network's own answer.

The penalty draws weights and biases to 0, where the network's probabilities are left as they are:
the stronger it is, the less the marks change. The fit runs on standardised principal components and
is folded back to weights of the raw features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize

from tsfd_client.classes.head import keep, log_shares, prior, softmax
from tsfd_client.classes.marked import MarkedNuclei, Nuclei

_COMPONENTS: Final = 64
_ITERATIONS: Final = 200
_TINY: Final = 1e-6
_EASE: Final = 3.0  # by how much the penalty spares the network's own probabilities
_RARE: Final = 1e-3  # no class is taken to be rarer
_NONE: Final = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Basis:
    """Principal components of standardised features: ``(features - mean) @ axes``.

    Attributes
    ----------
    mean
        float64 [D].
    axes
        float64 [D, d].
    """

    mean: np.ndarray
    axes: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """float64 [n, d], of mean variance 1."""
        return np.asarray((features - self.mean) @ self.axes)


def basis(features: np.ndarray) -> Basis:
    """Find the principal components of features, float [n, D]."""
    values = features.astype(np.float64)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    scale = np.where(spread > _TINY, 1 / np.maximum(spread, _TINY), 0.0)
    standard = (values - mean) * scale
    variances, axes = np.linalg.eigh(standard.T @ standard / len(values))
    kept = slice(None, -_COMPONENTS - 1, -1)
    size = np.sqrt(max(float(variances[kept].mean()), _TINY))
    return Basis(mean, scale[:, None] * axes[:, kept] / size)


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear function of the raw features, on top of the network's answer.

    Attributes
    ----------
    parents
        int [K], index of each class' parent among the network's classes, -1 for none.
    weights, mix, bias
        float64 [D, K], [C, K] and [K], as of `tsfd_client.classes.head.Head`.
    excess
        float64 [K], logarithm of how much more often a class is marked than it occurs.
    kept
        int [K], as of `tsfd_client.classes.head.keep`.
    """

    parents: np.ndarray
    weights: np.ndarray
    mix: np.ndarray
    bias: np.ndarray
    excess: np.ndarray
    kept: np.ndarray

    def logits(self, nuclei: Nuclei) -> np.ndarray:
        """Logits of nuclei as they occur, float64 [n, K]."""
        logs = log_shares(nuclei.shares)
        start = prior(nuclei.shares, self.parents) + logs @ self.mix + self.bias
        return keep(start + nuclei.features @ self.weights, logs, self.kept)


def shared_out(counts: np.ndarray, parents: np.ndarray, network: int) -> np.ndarray:
    """The bias with which a head says what the network says, float64 [K].

    Classes of one parent share its probability as the marks are shared among them, and classes
    without a parent have their share of the marks.

    Parameters
    ----------
    counts
        int [K], marks of each class, each at least 1.
    parents
        int [K], -1 for none.
    network
        C, the number of the network's classes.
    """
    new = parents < 0
    family = np.array([counts[parents == parent].sum() for parent in parents])
    bias = np.log(counts / family)
    bias[new] = np.log(counts[new] / max(counts[~new].sum(), 1)) + np.log(network)
    return np.asarray(bias)


def solve(
    marked: MarkedNuclei,
    around: Nuclei,
    parents: np.ndarray,
    strengths: tuple[float, ...],
    kept: np.ndarray = _NONE,
) -> list[Linear]:
    """Fit at each strength of the penalty, the strongest first.

    People mark rare classes as often as common ones, which must not make them common. So the fit is
    told how much more often each class is marked than it occurs. How often it occurs is estimated
    on the nuclei around the marked ones: by the network at first, then by each fit for the next.

    Parameters
    ----------
    marked
        With marks of every class.
    around
        All nuclei found where nuclei were marked, or a sample of them.
    parents
        int [K], index of each class' parent among the network's classes, -1 for none.
    strengths
        Of the penalty on weights and bias, both of standardised features.
    kept
        int, classes of the network that stay as they are: nuclei around count as far as they are
        of none of them.
    """
    counts = marked.counts(len(parents))
    frame = basis(marked.features)
    own, others = (
        np.concatenate(
            [
                frame(nuclei.features),
                _EASE * log_shares(nuclei.shares),
                np.ones((len(nuclei.features), 1)),
            ],
            axis=1,
        )
        for nuclei in (marked, around)
    )
    begin = shared_out(counts, parents, marked.shares.shape[1])
    own_start, others_start = (prior(nuclei.shares, parents) + begin for nuclei in (marked, around))
    truth = np.eye(len(parents))[marked.labels]
    is_left = np.delete(np.exp(log_shares(around.shares)), kept, axis=1).sum(axis=1)

    def cost(values: np.ndarray, strength: float, excess: np.ndarray) -> tuple[float, np.ndarray]:
        matrix = values.reshape(-1, len(parents))
        logits = own_start + excess + own @ matrix
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        sums = odds.sum(axis=1, keepdims=True)
        surprise = float(np.log(sums).sum() - (logits * truth).sum())
        slope = own.T @ (odds / sums - truth) + strength * matrix
        return surprise + strength / 2 * float(values @ values), slope.ravel()

    values = np.zeros(own.shape[1] * len(parents))
    found = []
    for strength in strengths:
        answers = softmax(others_start + others @ values.reshape(-1, len(parents)))
        occurring = np.average(answers, axis=0, weights=is_left)
        excess = np.log(counts / counts.sum()) - np.log((occurring + _RARE) / (1 + _RARE))
        values = minimize(
            cost, values, (strength, excess), "L-BFGS-B", jac=True, options={"maxiter": _ITERATIONS}
        ).x
        matrix = values.reshape(-1, len(parents))
        weights = frame.axes @ matrix[: frame.axes.shape[1]]
        mix = _EASE * matrix[frame.axes.shape[1] : -1]
        bias = begin + matrix[-1] - frame.mean @ weights
        found.append(Linear(parents, weights, mix, bias, excess, np.full(len(parents), -1)))
    return found
