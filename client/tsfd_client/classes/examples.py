"""Examples: nuclei that stand for the network's classes that people have not marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from tsfd_client.classes.fit import FEWEST_MARKS
from tsfd_client.classes.marked import MarkedNuclei

_EXAMPLES: Final = 30  # of a class
_SURE: Final = 0.8
_PART_UM: Final = 125.0  # side of the parts of a slide over which examples are spread


def examples_of(
    around: MarkedNuclei, free: np.ndarray, kept: Sequence[str], network: Sequence[str]
) -> dict[str, MarkedNuclei]:
    """Find nuclei without marks of which the network is surest.

    If there are several slides, a class must be found on two: on one alone, nobody could tell
    whether the class or the slide is recognised. A class without examples is not learned.

    Parameters
    ----------
    around
        Nuclei on the slides that are marked, near the marks.
    free
        int64 [m], the rows of those without a mark.
    kept
        Classes of the network that stay without marks.
    network
        Names of its classes in the order of the shares.
    """
    examples, slides = {}, min(2, len(np.unique(around.slides)))
    for name in kept:
        share = around.shares[free, network.index(name)]
        surest = np.argsort(-share, kind="stable")
        sure = free[surest[share[surest] >= _SURE]]
        chosen = _in_turns(around, sure)[:_EXAMPLES]
        if len(chosen) >= FEWEST_MARKS and len(np.unique(around.slides[chosen])) >= slides:
            examples[name] = around[chosen]
    return examples


def _in_turns(nuclei: MarkedNuclei, rows: np.ndarray) -> np.ndarray:
    """Reorder rows: one of each slide after the other, and on a slide one of each of its parts."""
    slides = np.unique(nuclei.slides[rows], return_inverse=True)[1]
    squares = np.floor(nuclei.places[rows] / _PART_UM)
    parts = np.unique(np.column_stack([slides, squares]), axis=0, return_inverse=True)[1]
    by_part = np.argsort(_turns(parts.reshape(-1)), kind="stable")
    return rows[by_part[np.argsort(_turns(slides[by_part]), kind="stable")]]


def _turns(groups: np.ndarray) -> np.ndarray:
    """How many of the same group come before each, int64 [n]."""
    order = np.argsort(groups, kind="stable")
    turns = np.empty(len(groups), np.int64)
    turns[order] = np.arange(len(groups)) - np.searchsorted(groups[order], groups[order])
    return turns
