"""What a server serves, in its own words: it is asked once, and every result carries the answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from tsfd_client.settings import Settings

PARAMETER: Final = "release"
"""Of the served model's configuration: where the description stands."""


@dataclass(frozen=True)
class NucleusClass:
    """A class of nuclei: its name, and the RGB it is drawn in."""

    name: str
    colour: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Release:
    """A network, a post-processing and its thresholds.

    Attributes
    ----------
    name
        Changes with anything that decides an answer. Thresholds of a request's own come after a
        plus sign.
    mpp
        Scale of the tiles, micrometres per pixel.
    classes
        By class id, which begins with 1; 0 is background.
    settings
        The thresholds in force, all of them.
    preset, precision
        Which network, and how it computes: ``"float"`` or ``"int8"``.
    digests
        SHA-256 of what it is made of: weights, graph and post-processing.
    """

    name: str
    mpp: float
    classes: tuple[NucleusClass, ...]
    settings: Settings
    preset: str
    precision: str
    digests: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def served(self) -> str:
        """The name that the server itself goes by."""
        return self.name.partition("+")[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class id, that of the background first."""
        return ("background", *(kind.name for kind in self.classes))

    @property
    def colours(self) -> dict[str, tuple[int, int, int]]:
        """RGB by class name."""
        return {kind.name: kind.colour for kind in self.classes}

    def with_settings(self, settings: Settings | None) -> Self:
        """The same with a request's own thresholds, of which the name tells those that differ."""
        own = settings.given() if settings else {}
        changed = {name: v for name, v in own.items() if v != getattr(self.settings, name)}
        if not changed:
            return self
        told = ",".join(f"{name}={value}" for name, value in changed.items())
        return replace(self, name=f"{self.name}+{told}", settings=replace(self.settings, **changed))

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """A description as a server or a result's file gives it.

        Raises
        ------
        ValueError, KeyError, TypeError, TsfdError
            If it is none.
        """
        return cls(
            name=record["release"],
            mpp=float(record["mpp"]),
            classes=tuple(NucleusClass(c["name"], tuple(c["colour"])) for c in record["classes"]),
            settings=Settings(**record["parameters"]),
            preset=record["preset"],
            precision=record["precision"],
            digests={name: text for name, text in record.items() if name.endswith("_sha256")},
        )

    def to_dict(self) -> dict[str, Any]:
        """As `from_dict` reads it."""
        return {
            "release": self.name,
            "preset": self.preset,
            "mpp": self.mpp,
            "classes": [{"name": kind.name, "colour": [*kind.colour]} for kind in self.classes],
            "parameters": self.settings.given(),
            "precision": self.precision,
            **self.digests,
        }
