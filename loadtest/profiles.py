"""The profiles of a load test, read from ``load.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

FILE = Path(__file__).with_name("load.toml")
ORDER = ("smoke", "closed", "steps", "steady", "spike", "overload", "stall", "soak")
"""Profiles in the order in which they run: the first ones determine the rates of the others."""

_NO_PROFILE = ("mix", "generator")


class ProfileError(ValueError):
    """The file cannot be used; the message says why."""


@dataclass(frozen=True)
class Profile:
    """One kind of load.

    Attributes
    ----------
    name
        Its table in the file.
    limits
        Limits by name; see `loadtest.judge`.
    of
        What the rates are relative to: ``"bare"`` or ``"knee"``.
    steps
        Pairs of a rate and its duration in seconds, in order; None for a closed loop.
    users, seconds
        Number of users and duration of a closed loop.
    knee
        Time, in bare patches, within which 95 % of a step's requests must be answered for its rate
        to count as below the knee.
    stall
        Seconds until the server is suspended, and for how many.
    """

    name: str
    limits: dict[str, float]
    of: str = "bare"
    steps: list[list[float]] | None = None
    users: int = 0
    seconds: float = 0
    knee: float | None = None
    stall: list[float] | None = None


@dataclass(frozen=True)
class Load:
    """The whole file.

    Attributes
    ----------
    mix
        Shares of the requests by kind.
    profiles
        By name.
    lag_p99_ms
        Allowed lag of the generator, 99th percentile in milliseconds.
    """

    mix: dict[str, float]
    profiles: dict[str, Profile] = field(default_factory=dict)
    lag_p99_ms: float = 0


def read(path: Path = FILE) -> Load:
    """Read the profiles.

    Raises
    ------
    ProfileError
        If a name in it is unknown or a part is missing.
    """
    try:
        tables = tomllib.loads(path.read_text())
        profiles = {
            name: Profile(name=name, **table)
            for name, table in tables.items()
            if name not in _NO_PROFILE
        }
        return Load(tables["mix"], profiles, tables["generator"]["limits"]["lag_p99_ms"])
    except (OSError, tomllib.TOMLDecodeError, TypeError, KeyError) as error:
        raise ProfileError(f"{path} cannot be used: {error}") from error
