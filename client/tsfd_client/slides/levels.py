"""What the reader of a format gives: a slide's levels, and a hash that tells it from others."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np

from tsfd_client.resample import Box

_ENDS = 1 << 20  # bytes


class Levels(Protocol):
    """An open slide: its picture at several scales. May be read from several threads.

    Attributes
    ----------
    mpp
        Micrometres per pixel of level 0, None where the file does not say it.
    shapes
        Height and width of every level, largest first.
    digest
        Tells the slide from others.
    """

    mpp: float | None
    shapes: list[tuple[int, int]]
    digest: str

    def read(self, level: int, box: Box) -> np.ndarray:
        """A part of a level, uint8 [h, w, 3]. May raise anything on a damaged file."""

    def close(self) -> None:
        """Close the file."""


def digest_of(path: Path) -> str:
    """Tells a file from others: a hash of its size and its two ends."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_ENDS))
        file.seek(max(0, size - _ENDS))
        digest.update(file.read(_ENDS))
    return digest.hexdigest()
