"""A network's scale and classes, stored in its weights file and its release."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from tsfd_client.release import NucleusClass, Release
from tsfd_client.settings import Settings


@dataclass(frozen=True)
class Target:
    """The scale and the classes that a network is trained for.

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
        """Restore a target from what `to_dict` returned.

        Raises
        ------
        ValueError, KeyError, TypeError
            If `record` is not a target.
        """
        classes = tuple(NucleusClass(c["name"], tuple(c["colour"])) for c in record["classes"])
        names = [c.name for c in classes]
        if not names or len(set(names)) < len(names) or not all(names):
            raise ValueError(f"classes must have distinct names, not {names}")
        if not record["mpp"] > 0:
            raise ValueError(f"mpp must be positive, not {record['mpp']!r}")
        return cls(float(record["mpp"]), classes)

    def to_dict(self) -> dict[str, Any]:
        """The target as values that JSON can hold."""
        return asdict(self)

    def release(self, name: str, settings: Settings) -> Release:
        """Describe a network trained for this target as a server would."""
        return Release(
            name=name,
            mpp=self.mpp,
            classes=self.classes,
            settings=settings,
            preset="",
            precision="float",
        )


# The colours remain distinct with the common forms of colour blindness.
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
