"""The release that a server describes itself to serve; every result records it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from tsfd_client.settings import Settings

PARAMETER: Final = "release"
"""Parameter of the served model's configuration that contains the description."""


@dataclass(frozen=True)
class NucleusClass:
    """A class of nuclei: its name and its colour, RGB."""

    name: str
    colour: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Release:
    """A network, its post-processing and thresholds.

    Attributes
    ----------
    name
        Differs if anything that affects the answers differs. Thresholds set by a request are
        appended after a plus sign.
    mpp
        Scale of the tiles, micrometres per pixel.
    classes
        In the order of class ids, which begin with 1; 0 is background.
    settings
        All thresholds in force.
    preset, precision
        The network, and its precision: ``"float"`` or ``"int8"``.
    network_classes
        Names of the network's own classes; others can be served in their place.
    features
        Number of features of a nucleus that the server gives; 0 for none.
    digests
        SHA-256 of weights, graph and post-processing.
    """

    name: str
    mpp: float
    classes: tuple[NucleusClass, ...]
    settings: Settings
    preset: str
    precision: str
    network_classes: tuple[str, ...] = ()
    features: int = 0
    digests: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def served(self) -> str:
        """Name of the release without thresholds of a request."""
        return self.name.partition("+")[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class id, starting with the background."""
        return ("background", *(kind.name for kind in self.classes))

    @property
    def colours(self) -> dict[str, tuple[int, int, int]]:
        """RGB by class name."""
        return {kind.name: kind.colour for kind in self.classes}

    def with_settings(self, settings: Settings | None) -> Self:
        """Return the release with a request's thresholds; those that differ go into its name."""
        own = settings.given() if settings else {}
        changed = {name: v for name, v in own.items() if v != getattr(self.settings, name)}
        if not changed:
            return self
        suffix = ",".join(f"{name}={value}" for name, value in changed.items())
        settings = replace(self.settings, **changed)
        return replace(self, name=f"{self.name}+{suffix}", settings=settings)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """Make a release from the description of a server or of a result's file.

        Raises
        ------
        ValueError, KeyError, TypeError, TsfdError
            If `record` is not a valid description.
        """
        return cls(
            name=record["release"],
            mpp=float(record["mpp"]),
            classes=tuple(NucleusClass(c["name"], tuple(c["colour"])) for c in record["classes"]),
            settings=Settings(**record["parameters"]),
            preset=record["preset"],
            precision=record["precision"],
            network_classes=tuple(record.get("network_classes", ())),
            features=int(record.get("features", 0)),
            digests={name: text for name, text in record.items() if name.endswith("_sha256")},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the description that `from_dict` reads."""
        return {
            "release": self.name,
            "preset": self.preset,
            "mpp": self.mpp,
            "classes": [{"name": kind.name, "colour": [*kind.colour]} for kind in self.classes],
            "parameters": self.settings.given(),
            "precision": self.precision,
            "network_classes": [*self.network_classes],
            "features": self.features,
            **self.digests,
        }
