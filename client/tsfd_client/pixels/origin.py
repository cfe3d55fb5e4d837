"""Where the pixels of a result are: ``origin.json`` beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from tsfd_client.files import replacing
from tsfd_client.pixels.slide import Slide
from tsfd_client.remote.address import Address

FILE: Final = "origin.json"


@dataclass(frozen=True)
class Origin:
    """An image that was segmented.

    Attributes
    ----------
    path
        Of the file, absolute; or its address on a store, without credentials.
    fingerprint
        Of its content: `tsfd_client.pixels.slide.Slide.fingerprint`.
    mpp
        Micrometres per pixel of level 0.
    version
        Of the file on its store; None if it is on none, or the store does not tell.
    """

    path: str
    fingerprint: str
    mpp: float
    version: str | None = None

    @classmethod
    def of(cls, slide: Slide) -> Self:
        """Where an open slide is."""
        place = slide.path if isinstance(slide.path, Address) else slide.path.resolve()
        return cls(str(place), slide.fingerprint(), slide.mpp, slide.version)

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
        known = {name: value for name, value in asdict(self).items() if value is not None}
        with replacing(folder / FILE) as partial:
            partial.write_text(json.dumps(known, indent=1) + "\n")


def image_of(result: Path) -> str | None:
    """Fingerprint of the image that a result is of; None if the result does not say."""
    origin = Origin.read(result)
    return origin.fingerprint if origin else None
