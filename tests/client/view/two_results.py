"""Two results of an image, and which of their nuclei match."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.client.export.run_folder import NUCLEI, label_image
from tsfd_client.stitching.join import Nucleus


def altered() -> list[Nucleus]:
    """The nuclei once more: moved a little, some of another class, some missing."""
    rng = np.random.default_rng(5)
    moved = [
        replace(n, x=n.x + int(rng.integers(-2, 3)), y=n.y + int(rng.integers(-2, 3)))
        for n in NUCLEI
        if rng.random() < 0.9
    ]
    return [
        replace(n, nucleus_class=n.nucleus_class % 5 + 1) if rng.random() < 0.2 else n
        for n in sorted(moved, key=lambda n: n.place)
    ]


def expected() -> dict[int, int]:
    """By pixels of whole label images: of the first's nuclei each partner in the second."""
    a, b = label_image(), label_image(altered())
    areas = np.bincount(b.ravel())
    partners = {}
    for number in range(1, len(NUCLEI) + 1):
        for other, common in enumerate(np.bincount(b[a == number])):
            if other and common > 0.5 * ((a == number).sum() + areas[other] - common):
                partners[number] = other
    return partners
