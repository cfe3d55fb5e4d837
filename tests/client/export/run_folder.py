"""A finished run of nuclei that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.client import made
from tsfd_client.pixels.origin import Origin
from tsfd_client.stitching.join import Nucleus

SQUARES = 8
SIDE = SQUARES * made.PITCH
BLOCKS = made.field(SQUARES)
NUCLEI = [nucleus for block in BLOCKS for nucleus in sorted(block, key=lambda n: n.place)]


def finished(
    folder: Path,
    scale: float,
    blocks: list[list[Nucleus]] = BLOCKS,
    side: int = SIDE,
    content: str = "its content",
) -> Path:
    """Write a run's table and mark it done.

    Parameters
    ----------
    side
        Of the slide, pixels at 0.25 mpp.
    content
        By which the slide is told from others.
    """
    made.write(folder / "nuclei.parquet", blocks, scale, side)
    Origin("slide.svs", content, 0.25 / scale).write(folder)
    (folder / "DONE").touch()
    return folder


def label_image(nuclei: list[Nucleus] = NUCLEI, side: int = SIDE) -> np.ndarray:
    """The number of its nucleus, from 1, in every pixel at 0.25 mpp, uint32 [side, side]."""
    image = np.zeros((side, side), np.uint32)
    for number, n in enumerate(nuclei, 1):
        image[n.y : n.y + n.mask.shape[0], n.x : n.x + n.mask.shape[1]][n.mask] = number
    return image


def names(folder: Path) -> set[str]:
    """What lies in a folder."""
    return {entry.name for entry in folder.iterdir()}
