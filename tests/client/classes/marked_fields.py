"""Nuclei whose features say their class, and a network that knows it to some degree."""

from __future__ import annotations

import numpy as np

from tsfd_client.classes.fit import Base
from tsfd_client.classes.head import OwnClass
from tsfd_client.classes.marked import MarkedNuclei, Nuclei

FEATURES = 40
BASE = Base("lite 3", "ab" * 32, ("neoplastic", "inflammatory", "connective", "dead", "epithelial"))
PALETTE = [(7 * k, 255 - 7 * k, 100) for k in range(31)]


def own(*parents: str | None) -> tuple[OwnClass, ...]:
    """A class for each parent."""
    return tuple(OwnClass(f"class {k}", PALETTE[k], parent) for k, parent in enumerate(parents))


def kept(*names: str) -> tuple[OwnClass, ...]:
    """Classes of the network that stay as they are."""
    return tuple(
        OwnClass(name, PALETTE[-1 - k], name, learned=False) for k, name in enumerate(names)
    )


FIVE = own(*BASE.classes)


class World:
    """Where classes differ in their features by `signal` standard deviations."""

    def __init__(self, classes: int, signal: float, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = self.rng.normal(size=(classes, FEATURES))
        self.centres *= signal / np.linalg.norm(self.centres, axis=1, keepdims=True)
        self.slides = self.rng.normal(size=(100, FEATURES))

    def features(self, labels: np.ndarray, slides: np.ndarray, slide_effect: float) -> np.ndarray:
        noise = self.rng.normal(size=(len(labels), FEATURES))
        drawn = self.centres[labels] + noise + slide_effect * self.slides[slides]
        # Features of any scale and offset, and one that says nothing.
        drawn = 5 + drawn * np.linspace(0.01, 20, FEATURES)
        drawn[:, -1] = 3
        return drawn.astype(np.float32)

    def shares(self, truth: np.ndarray, knows: float) -> np.ndarray:
        """Shares of five classes, right as often as `knows`."""
        answer = np.where(
            self.rng.random(len(truth)) < knows, truth, self.rng.integers(0, 5, len(truth))
        )
        shares = self.rng.dirichlet(np.ones(5), len(truth)) * 0.4
        shares[np.arange(len(truth)), answer] += 0.6
        return shares

    def marked(
        self,
        labels: np.ndarray,
        *,
        slides: int = 6,
        knows: float = 0.0,
        slide_effect: float = 0.0,
        truth: np.ndarray | None = None,
    ) -> MarkedNuclei:
        """Marks; `truth` is the network's class of each."""
        on = self.rng.integers(0, slides, len(labels))
        return MarkedNuclei(
            features=self.features(labels, on, slide_effect),
            shares=self.shares(labels % 5 if truth is None else truth, knows),
            labels=labels,
            slides=np.array([f"slide {number}" for number in on]),
            places=self.rng.random((len(labels), 2)) * 2000,
        )

    def around(self, odds: list[float], knows: float = 0.0, number: int = 3000) -> Nuclei:
        """Nuclei as they occur: each class as often as its odds say."""
        labels = self.rng.choice(len(odds), number, p=np.array(odds) / sum(odds))
        return self.marked(labels, knows=knows)


def each(classes: int, number: int) -> np.ndarray:
    """So many labels of each class."""
    return np.repeat(np.arange(classes), number)
