"""The interface of the readers, a slide's levels, and what the readers have in common."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np

from tsfd_client.pixels.box import Box
from tsfd_client.pixels.scale import Scale

LARGE = 1 << 26
"""Pixels. Larger pictures are never copied in memory, and larger TIFFs are read in parts."""

_ENDS = 1 << 20  # bytes


class Levels(Protocol):
    """An open slide: its picture at several scales. May be read from several threads.

    Attributes
    ----------
    scale
        What the file states about its scale.
    remarks
        Warnings about the slide, in sentences.
    shapes
        Height and width of every level, largest first.
    digest
        Hash that identifies the slide.
    dicom_uids
        DICOM identifiers of level 0 by keyword; empty for other formats.
    """

    scale: Scale
    remarks: list[str]
    shapes: list[tuple[int, int]]
    digest: str
    dicom_uids: dict[str, str]

    def read(self, level: int, box: Box) -> np.ndarray:
        """A part of a level, uint8 [h, w, 3]. May raise anything on a damaged file."""

    def close(self) -> None:
        """Close the file."""


def paste(tile: np.ndarray, top: int, left: int, pixels: np.ndarray, box: Box) -> None:
    """Copy the pixels that a tile shares with a part of its level into that part.

    Parameters
    ----------
    tile
        uint8 [h, w, channels].
    top, left
        Its corner in the level.
    pixels, box
        The part's pixels, which are written to, and its place; the tile must overlap it.
    """
    y0, x0, y1, x1 = box
    held = tile[max(0, y0 - top) : y1 - top, max(0, x0 - left) : x1 - left]
    y, x = max(0, top - y0), max(0, left - x0)
    pixels[y : y + held.shape[0], x : x + held.shape[1]] = held


def digest_of(path: Path) -> str:
    """Identify a file by a hash of its size and its two ends."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_ENDS))
        file.seek(max(0, size - _ENDS))
        digest.update(file.read(_ENDS))
    return digest.hexdigest()
