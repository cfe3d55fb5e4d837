"""Nuclei with their features, and the marks on them: what a head is fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

_REGIONS: Final = (250.0, 125.0, 60.0)  # micrometres: nuclei that are closer resemble each other
_ENOUGH: Final = 5  # regions


@dataclass(frozen=True, eq=False)
class Nuclei:
    """Nuclei as the network sees them.

    Attributes
    ----------
    features
        float32 [n, D], the mean of each of the network's features over a nucleus' pixels.
    shares
        float [n, C], the network's mean probability of each class within a nucleus.
    """

    features: np.ndarray
    shares: np.ndarray

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, eq=False)
class MarkedNuclei(Nuclei):
    """Nuclei that people gave classes to.

    Attributes
    ----------
    features, shares
        As of `Nuclei`.
    labels
        int64 [n], index of the class.
    slides
        str [n], name of the slide.
    places
        float [n, 2], centre in micrometres.
    """

    labels: np.ndarray
    slides: np.ndarray
    places: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> MarkedNuclei:
        """Restrict to some nuclei, chosen by indices or a mask."""
        return MarkedNuclei(
            self.features[chosen],
            self.shares[chosen],
            self.labels[chosen],
            self.slides[chosen],
            self.places[chosen],
        )

    def counts(self, classes: int) -> np.ndarray:
        """int64 [K]: marks of each class."""
        return np.bincount(self.labels, minlength=classes)


@dataclass(frozen=True, eq=False)
class Groups:
    """What is left out together in cross-validation.

    Attributes
    ----------
    of
        int64 [n], group of each nucleus, 0 .. number - 1.
    kind
        ``"slides"`` or ``"regions"``.
    """

    of: np.ndarray
    kind: str

    def lonely(self, labels: np.ndarray) -> np.ndarray:
        """Classes that are marked on one slide while others have marks, too; int64 [m].

        Nobody can tell whether such a class, or that slide, is recognised.
        """
        if self.kind != "slides":
            return np.empty(0, np.int64)
        pairs = np.unique(np.column_stack([labels, self.of]), axis=0)
        return np.flatnonzero(np.bincount(pairs[:, 0]) == 1)

    @property
    def number(self) -> int:
        """Number of groups."""
        return int(self.of.max(initial=-1)) + 1


def groups(marked: MarkedNuclei) -> Groups:
    """Group nuclei by slide, or by region if all are of one slide.

    Nuclei of one slide, and neighbours even more, share stain, thickness and focus: figures on
    neighbours of those that a head has learned from would flatter it. Regions are squares,
    smaller ones if the marks lie close together.
    """
    slides = np.unique(marked.slides, return_inverse=True)[1]
    if slides.any():
        return Groups(slides, "slides")
    for side in _REGIONS:
        squares = np.floor(marked.places / side)
        regions = np.unique(squares, axis=0, return_inverse=True)[1].reshape(-1)
        if regions.max() + 1 >= _ENOUGH:
            break
    return Groups(regions, "regions")
