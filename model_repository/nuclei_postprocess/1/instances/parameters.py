"""Parameters that a request may set, with their defaults."""

from dataclasses import dataclass
from numbers import Integral, Real


@dataclass(frozen=True)
class Parameters:
    """Thresholds that separate nuclei from the background and from each other.

    Attributes
    ----------
    foreground_threshold
        A pixel is foreground if its probability (1 - background) exceeds this, in (0, 1).
    boundary_threshold
        A pixel lies on a boundary if its boundary probability exceeds this, in (0, 1).
    min_area
        Smallest nucleus in pixels.
    min_confidence
        Smallest mean foreground probability (1 - background) of a nucleus, in [0, 1).

    Raises
    ------
    ValueError
        If a value is outside its range.
    """

    foreground_threshold: float = 0.55
    boundary_threshold: float = 0.5
    min_area: int = 40
    min_confidence: float = 0.8

    def __post_init__(self) -> None:
        for name in ("foreground_threshold", "boundary_threshold"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < 1:
                raise ValueError(
                    f"{name} must be a number between 0 and 1 (both excluded), not {value!r}."
                )
        area = self.min_area
        if isinstance(area, bool) or not isinstance(area, Integral) or area < 0:
            raise ValueError(f"min_area must be a whole number of pixels >= 0, not {area!r}.")
        least = self.min_confidence
        if isinstance(least, bool) or not isinstance(least, Real) or not 0 <= least < 1:
            raise ValueError(f"min_confidence must be a number from 0 to below 1, not {least!r}.")
