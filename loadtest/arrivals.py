"""Times and kinds of the requests, drawn before the test and independent of the server."""

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
        Number that selects the request among those of its kind.
    """

    at: float
    kind: str
    choice: int


def mean_patches(mix: dict[str, float]) -> float:
    """Mean number of patches per request."""
    return sum(share * KINDS[kind] for kind, share in mix.items()) / sum(mix.values())


def draw(
    steps: list[list[float]], mix: dict[str, float], rng: np.random.Generator
) -> Iterator[Arrival]:
    """Draw Poisson arrivals.

    Parameters
    ----------
    steps
        Pairs of a rate in patches per second and its duration in seconds.
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
