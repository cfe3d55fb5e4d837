"""What a load amounts to, and whether it keeps the limits of its profile."""

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
    """Of the requests of a time.

    Attributes
    ----------
    requests
        All.
    offered, answered
        Patches per second, of all requests and of those rightly answered.
    latency
        Seconds by percentile, of the answered ones, from when each was meant to be sent.
    failures
        Requests by status, without those answered rightly.
    lag_p99
        Seconds by which the generator was late.
    """

    requests: int
    offered: float
    answered: float
    latency: dict[str, float]
    failures: dict[str, int]
    lag_p99: float

    @classmethod
    def of(cls, records: Records, seconds: float) -> Figures:
        """Of the requests meant to be sent in a time of `seconds`."""
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
    """Of one profile.

    Attributes
    ----------
    profile
        What was run.
    records
        All requests.
    begin
        Of the load, in seconds since 1970.
    seconds
        Length of the load.
    figures
        Of the whole.
    steps
        Nominal patches per second and figures of each step.
    agreement
        Of the answers' nuclei with the right ones, where the server may round otherwise.
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
        Whose it is, and what is limited, in words.
    value, limit
        What was found, and what was asked.
    holds
        Whether it does.
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
    """Figures of a load.

    Parameters
    ----------
    steps
        Pairs of patches per second and seconds; None for a closed loop.
    agreement
        Of the answers' nuclei, where the server may round otherwise.
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
    """Highest patches per second up to which steps are answered in time; 0 if the first is not."""
    found = 0.0
    for rate, figures in steps.steps:
        if figures.failures or not figures.latency["p95"] * bare <= steps.profile.knee:
            break
        found = rate
    return found


def recovery(found: Result, slow: float) -> float:
    """Seconds after the last step but one in which a request still failed, or took over `slow`."""
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
        Patches per second that are answered in time.
    lag_p99_ms
        How late the generator may be.
    slow
        Bare patches from which on an answer is late.
    """
    figures = found.figures
    failed = sum(figures.failures.values())
    wrong = figures.failures.get(WRONG, 0)
    others = failed - figures.failures.get(_REFUSED, 0)
    first = found.steps[0][1] if found.steps else figures

    most: dict[str, tuple[str, Callable[[], float]]] = {
        "failed": ("failed or wrong", lambda: failed),
        "other_failures": ("failed otherwise than by a refusal", lambda: others),
        "p99": ("p99 in bare patches", lambda: figures.latency["p99"] * bare),
        "recovery_s": ("seconds to recover", lambda: recovery(found, slow / bare)),
    }
    least: dict[str, tuple[str, Callable[[], float]]] = {
        "of_bare": ("answered of the bare rate", lambda: figures.answered / bare),
        "knee_of_bare": ("knee of the bare rate", lambda: knee / bare),
        "achieved": ("answered of the offered", lambda: figures.answered / figures.offered),
        "answered_of_knee": ("answered of the knee", lambda: first.answered / knee),
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
            f"{name} nuclei that stay so": (share, LEAST_KEPT) for name, share in kept.items()
        }
        checks += [
            Check(name, f"{words}, at least", value, limit, value >= limit)
            for words, (value, limit) in least.items()
        ]
    if found.steps:
        lag = 1000 * figures.lag_p99
        checks.append(
            Check(name, "generator's lag p99 in ms, at most", lag, lag_p99_ms, lag <= lag_p99_ms)
        )
    return checks
