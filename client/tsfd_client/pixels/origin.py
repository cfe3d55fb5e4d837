"""Where the pixels of a result are: ``origin.json`` beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from tsfd_client.files import replacing

FILE: Final = "origin.json"


@dataclass(frozen=True)
class Origin:
    """An image that was segmented.

    Attributes
    ----------
    path
        Of the file, absolute.
    fingerprint
        Of its content: `tsfd_client.pixels.slide.Slide.fingerprint`.
    mpp
        Micrometres per pixel of level 0.
    """

    path: str
    fingerprint: str
    mpp: float

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read it from a folder; None if it is missing or damaged."""
        try:
            return cls(**json.loads((folder / FILE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write it into a folder.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with replacing(folder / FILE) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1) + "\n")


def image_of(result: Path) -> str | None:
    """Fingerprint of the image that a result is of; None if the result does not say."""
    origin = Origin.read(result)
    return origin.fingerprint if origin else None
