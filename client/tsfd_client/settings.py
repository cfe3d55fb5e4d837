"""Thresholds that a request may carry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Thresholds of the instances; None leaves the server's default.

    Attributes
    ----------
    foreground_threshold, boundary_threshold
        Probabilities in (0, 1).
    min_area
        Smallest nucleus, pixels at 0.25 mpp.
    min_confidence
        Smallest mean foreground probability of a nucleus, in [0, 1).
    method
        ``"watershed"`` or ``"reference"`` (the steps of TSFD-Net's authors).
    """

    foreground_threshold: float | None = None
    boundary_threshold: float | None = None
    min_area: int | None = None
    min_confidence: float | None = None
    method: str | None = None

    def parameters(self) -> dict[str, str]:
        """As request parameters, in text: the server reads it, and numpy's numbers are refused."""
        return {name: str(value) for name, value in vars(self).items() if value is not None}
