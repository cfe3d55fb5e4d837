"""Tiles of an image and the answers for them -> the nuclei of the image. Needs no connection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsfd_client.nuclei import Nuclei, describe
from tsfd_client.stitch import TileNuclei, stitch
from tsfd_client.tiling import Tile, Tiling

_BLANK = 215


@dataclass(frozen=True)
class TileResult:
    """The server's answer for one tile: uint16 [256, 256], float32 [n, 11], float32 [19]."""

    instance_map: np.ndarray
    nuclei: np.ndarray
    tissue_probs: np.ndarray


def batches(tiling: Tiling, size: int) -> list[list[Tile]]:
    """The tiles of an image in requests of at most `size`."""
    tiles = list(tiling)
    return [tiles[start : start + size] for start in range(0, len(tiles), size)]


def assemble(
    tiling: Tiling, results: list[tuple[Tile, TileResult]], shape: tuple[int, int], mpp: float
) -> Nuclei:
    """Stitch the answers for all tiles of an image."""
    height, width = tiling.image.shape[:2]
    tiles = [TileNuclei(tile.y, tile.x, r.instance_map, r.nuclei) for tile, r in results]
    weights = np.array([1e-6 + np.mean(tile.image[..., 1] < _BLANK) for tile, _ in results])
    tissue = np.average([r.tissue_probs for _, r in results], axis=0, weights=weights)
    stitched = stitch(tiles, height, width)
    return describe(stitched, tiling, shape, mpp, tissue.astype(np.float32))
