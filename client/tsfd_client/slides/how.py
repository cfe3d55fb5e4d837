"""How a slide is segmented."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tsfd_client.settings import Settings


@dataclass(frozen=True, kw_only=True)
class How:
    """What decides the result beside the slide and the server.

    Attributes
    ----------
    settings
        Thresholds other than the server's.
    mpp
        Micrometres per pixel of level 0, where the file does not say it or says it wrong.
    tissue
        GeoJSON file that outlines the tissue, in pixels of level 0; by default it is found.
    everywhere
        Segment glass, too.
    """

    settings: Settings = field(default_factory=Settings)
    mpp: float | None = None
    tissue: Path | None = None
    everywhere: bool = False
