"""The figures of a load, and whether they keep the limits of its profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from conversion.agreement import LEAST_KEPT, LEAST_PQ, Agreement
from loadtest.profiles import Profile
from loadtest.records import ANSWERED, WRONG, Records

PERCENTILES: Final = (50, 95, 99, 99.9)
_REFUSED: Final = "UNAVAILABLE"


@dataclass(frozen=True)
class Figures:
    """Figures of the requests of a period.

    Attributes
    ----------
    requests
        Number of requests.
    offered, answered
        Patches per second of all requests, and of those answered correctly.
    latency
        Seconds by percentile, from when each answered request was meant to be sent.
    failures
        Number of requests by status, without those answered correctly.
    lag_p99
        Lag of the generator in seconds, 99th percentile.
    """

    requests: int
    offered: float
    answered: float
    latency: dict[str, float]
    failures: dict[str, int]
    lag_p99: float

    @classmethod
    def of(cls, records: Records, seconds: float) -> Figures:
        """Figures of requests that were meant to be sent within `seconds`."""
        failures = Counter(str(s) for s in records.status if s != ANSWERED)
        return cls(
            requests=len(records),
            offered=float(records.patches.sum()) / seconds,
            answered=float(records.patches[records.is_answered].sum()) / seconds,
            latency={f"p{p:g}": records.percentile(p) for p in PERCENTILES},
            failures=dict(failures),
            lag_p99=float(np.percentile(records.lag, 99)) if len(records) else 0.0,
        )


@dataclass(frozen=True)
class Result:
    """Result of one profile.

    Attributes
    ----------
    profile
        The profile that was run.
    records
        All requests.
    begin
        Start of the load in seconds since 1970.
    seconds
        Length of the load.
    figures
        Figures of the whole load.
    steps
        Nominal rate in patches per second and figures of each step.
    agreement
        Agreement of the nuclei with the right ones, if the server may round differently.
    """

    profile: Profile
    records: Records
    begin: float
    seconds: float
    figures: Figures
    steps: list[tuple[float, Figures]] = field(default_factory=list)
    agreement: Agreement = field(default_factory=Agreement)


@dataclass(frozen=True)
class Check:
    """One limit.

    Attributes
    ----------
    profile, name
        The profile, and what is limited, in words.
    value, limit
        The value found, and the limit.
    holds
        Whether the limit holds.
    """

    profile: str
    name: str
    value: float
    limit: float
    holds: bool

    def __str__(self) -> str:
        return f"{self.name} {self.limit:g}, found {self.value:.4g}"


def result(
    profile: Profile,
    records: Records,
    steps: list[list[float]] | None = None,
    agreement: Agreement | None = None,
) -> Result:
    """Compute the result of a load.

    Parameters
    ----------
    steps
        Pairs of a rate in patches per second and seconds; None for a closed loop.
    agreement
        Agreement of the nuclei, if the server may round differently.
    """
    agreement = agreement or Agreement()
    begin = float(records.intended.min())
    if steps is None:
        seconds = float(records.done.max()) - begin
        figures = Figures.of(records, seconds)
        return Result(profile, records, begin, seconds, figures, agreement=agreement)
    parts, start = [], begin
    for rate, length in steps:
        parts.append((rate, Figures.of(records.between(start, start + length), length)))
        start += length
    seconds = start - begin
    return Result(profile, records, begin, seconds, Figures.of(records, seconds), parts, agreement)


def knee(steps: Result, bare: float) -> float:
    """The highest rate, in patches per second, up to which all steps are answered in time, or 0."""
    found = 0.0
    for rate, figures in steps.steps:
        if figures.failures or not figures.latency["p95"] * bare <= steps.profile.knee:
            break
        found = rate
    return found


def recovery(found: Result, slow: float) -> float:
    """Seconds into the last step until no request fails or takes longer than `slow`."""
    *_, (_, _), (_, _) = found.steps
    last = found.profile.steps[-1][1]
    end = found.begin + found.seconds
    tail = found.records.between(end - last, end)
    bad = ~tail.is_answered | (tail.latency > slow)
    return float(tail.intended[bad].max() - (end - last)) if bad.any() else 0.0


def judge(
    found: Result, *, bare: float, knee: float, lag_p99_ms: float, slow: float
) -> list[Check]:
    """Compare a profile's figures with its limits.

    Parameters
    ----------
    bare
        The bare runtime's patches per second.
    knee
        Highest rate, in patches per second, that is answered in time.
    lag_p99_ms
        How late the generator may be.
    slow
        Latency, in bare patches, above which an answer is late.
    """
    figures = found.figures
    failed = sum(figures.failures.values())
    wrong = figures.failures.get(WRONG, 0)
    others = failed - figures.failures.get(_REFUSED, 0)
    first = found.steps[0][1] if found.steps else figures

    most: dict[str, tuple[str, Callable[[], float]]] = {
        "failed": ("failed or wrong", lambda: failed),
        "other_failures": ("failed other than by refusal", lambda: others),
        "p99": ("p99 in bare patches", lambda: figures.latency["p99"] * bare),
        "recovery_s": ("seconds to recover", lambda: recovery(found, slow / bare)),
    }
    least: dict[str, tuple[str, Callable[[], float]]] = {
        "of_bare": ("answered rate / bare rate", lambda: figures.answered / bare),
        "knee_of_bare": ("knee / bare rate", lambda: knee / bare),
        "achieved": ("answered / offered rate", lambda: figures.answered / figures.offered),
        "answered_of_knee": ("answered rate / knee", lambda: first.answered / knee),
        "least_p99_s": ("p99 in seconds", lambda: figures.latency["p99"]),
    }
    name = found.profile.name
    checks = [Check(name, "wrong answers", wrong, 0, wrong == 0)]
    for limit, allowed in found.profile.limits.items():
        if limit in most:
            words, value = most[limit][0], most[limit][1]()
            checks.append(Check(name, f"{words}, at most", value, allowed, value <= allowed))
        else:
            words, value = least[limit][0], least[limit][1]()
            checks.append(Check(name, f"{words}, at least", value, allowed, value >= allowed))
    quality, kept = found.agreement.panoptic_quality, found.agreement.kept
    if found.agreement.nuclei:
        least = {"PQ of the nuclei": (quality, LEAST_PQ)}
        least |= {
            f"share of {name} nuclei kept": (share, LEAST_KEPT) for name, share in kept.items()
        }
        checks += [
            Check(name, f"{words}, at least", value, limit, value >= limit)
            for words, (value, limit) in least.items()
        ]
    if found.steps:
        lag = 1000 * figures.lag_p99
        checks.append(
            Check(
                name,
                "p99 of the generator's lag in ms, at most",
                lag,
                lag_p99_ms,
                lag <= lag_p99_ms,
            )
        )
    return checks
