"""Patches to load a server with, from blank to crowded."""

from __future__ import annotations

import numpy as np

from samples.synthetic import generate


def patches() -> np.ndarray:
    """Sixteen patches, sparse to crowded, one of them blank glass; uint8 [16, 256, 256, 3]."""
    fields = [generate(512, 512, nuclei=n, seed=n).image for n in (20, 60, 100, 120)]
    tiles = [f[y : y + 256, x : x + 256] for f in fields for y in (0, 256) for x in (0, 256)]
    tiles[0] = np.full_like(tiles[0], 255)
    return np.stack(tiles)
