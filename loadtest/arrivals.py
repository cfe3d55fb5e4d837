"""When requests are sent, and what they ask: drawn before the test, whatever the server does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from loadtest.answers import KINDS


@dataclass(frozen=True)
class Arrival:
    """One request.

    Attributes
    ----------
    at
        Seconds after the start of the load.
    kind
        Name in `KINDS`.
    choice
        Number that chooses what of its kind is sent.
    """

    at: float
    kind: str
    choice: int


def mean_patches(mix: dict[str, float]) -> float:
    """Patches per request."""
    return sum(share * KINDS[kind] for kind, share in mix.items()) / sum(mix.values())


def draw(
    steps: list[list[float]], mix: dict[str, float], rng: np.random.Generator
) -> Iterator[Arrival]:
    """Poisson arrivals.

    Parameters
    ----------
    steps
        Pairs of patches per second and seconds.
    mix
        Shares of the requests by kind.
    """
    shares = np.array(list(mix.values())) / sum(mix.values())
    begin = 0.0
    for rate, seconds in steps:
        at = begin
        while (at := at + rng.exponential(mean_patches(mix) / rate)) < begin + seconds:
            kind = str(rng.choice(list(mix), p=shares))
            yield Arrival(at, kind, int(rng.integers(1 << 30)))
        begin += seconds
