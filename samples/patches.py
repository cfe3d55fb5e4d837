"""Patches to load a server with, from blank to crowded."""

from __future__ import annotations

import numpy as np

from samples.synthetic import generate
from tsfd_client.contract import TILE


def patches() -> np.ndarray:
    """Sixteen patches, sparse to crowded, one of them blank glass; uint8 [16, 256, 256, 3]."""
    fields = [generate(512, 512, nuclei=n, seed=n).image for n in (20, 60, 100, 120)]
    tiles = [f[y : y + TILE, x : x + TILE] for f in fields for y in (0, TILE) for x in (0, TILE)]
    tiles[0] = np.full_like(tiles[0], 255)
    return np.stack(tiles)
