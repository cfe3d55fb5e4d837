"""Thresholds that a request may set."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from tsfd_client.errors import TsfdError


@dataclass(frozen=True)
class Settings:
    """Thresholds of the post-processing; None leaves the server's default.

    Attributes
    ----------
    foreground_threshold, boundary_threshold
        Probabilities in (0, 1).
    min_area
        Smallest nucleus, pixels at the network's scale.
    min_confidence
        Smallest mean foreground probability of a nucleus, in [0, 1).

    Raises
    ------
    TsfdError
        If a value is out of range; the message is the same as the server's.
    """

    foreground_threshold: float | None = None
    boundary_threshold: float | None = None
    min_area: int | None = None
    min_confidence: float | None = None

    def __post_init__(self) -> None:
        for name in ("foreground_threshold", "boundary_threshold"):
            value = getattr(self, name)
            if value is not None and not (_is_a(Real, value) and 0 < value < 1):
                raise TsfdError(
                    f"{name} must be a number between 0 and 1 (both excluded), not {value!r}."
                )
        area, least = self.min_area, self.min_confidence
        if area is not None and not (_is_a(Integral, area) and area >= 0):
            raise TsfdError(f"min_area must be a whole number of pixels >= 0, not {area!r}.")
        if least is not None and not (_is_a(Real, least) and 0 <= least < 1):
            raise TsfdError(f"min_confidence must be a number from 0 to below 1, not {least!r}.")
        for name, value in self.given().items():  # numpy numbers cannot be written as JSON
            object.__setattr__(self, name, int(value) if name == "min_area" else float(value))

    def given(self) -> dict[str, Any]:
        """Thresholds that are set, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def parameters(self) -> dict[str, str]:
        """Return request parameters, as text because Triton's client does not accept floats."""
        return {name: str(value) for name, value in self.given().items()}


def check_settings(settings: Settings | None) -> None:
    """Raise TypeError unless they are `Settings`, or None."""
    if settings is not None and not isinstance(settings, Settings):
        raise TypeError(f"settings must be Settings(...), not {type(settings).__name__}.")


def _is_a(kind: type, value: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
