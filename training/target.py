"""What a network tells apart, and at which scale: part of its weights file and of its release."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from tsfd_client.release import NucleusClass, Release
from tsfd_client.settings import Settings


@dataclass(frozen=True)
class Target:
    """What a network is trained for.

    Attributes
    ----------
    mpp
        Scale of its tiles, micrometres per pixel.
    classes
        By class id, which begins with 1; 0 is background.
    """

    mpp: float
    classes: tuple[NucleusClass, ...]

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """The target that `to_dict` has written.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none.
        """
        classes = tuple(NucleusClass(c["name"], tuple(c["colour"])) for c in record["classes"])
        names = [c.name for c in classes]
        if not names or len(set(names)) < len(names) or not all(names):
            raise ValueError(f"classes must have names, each another, not {names}")
        if not record["mpp"] > 0:
            raise ValueError(f"mpp must be positive, not {record['mpp']!r}")
        return cls(float(record["mpp"]), classes)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    def release(self, name: str, settings: Settings) -> Release:
        """A network that was trained for it, as a server would describe it."""
        return Release(
            name=name,
            mpp=self.mpp,
            classes=self.classes,
            settings=settings,
            preset="",
            precision="float",
        )


# The colours are told apart with the common colour blindnesses.
PANNUKE: Final = Target(
    mpp=0.25,
    classes=(
        NucleusClass("neoplastic", (230, 50, 30)),
        NucleusClass("inflammatory", (0, 114, 255)),
        NucleusClass("connective", (245, 225, 40)),
        NucleusClass("dead", (20, 20, 20)),
        NucleusClass("epithelial", (0, 190, 120)),
    ),
)
"""PanNuke's five classes at 40x: what the data of `training.data` teach."""

CLASSES: Final = ("background", *(c.name for c in PANNUKE.classes))
"""Their names by class id."""
