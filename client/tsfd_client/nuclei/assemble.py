"""Tiles of an image and the answers for them -> the nuclei of the image. Needs no connection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tsfd_client.errors import ServerError
from tsfd_client.nuclei.result import Nuclei, describe
from tsfd_client.pixels.tissue import lies_on
from tsfd_client.release import Release
from tsfd_client.stitching.stitch import still_wanted, stitch
from tsfd_client.stitching.tiling import Tile, Tiling
from tsfd_client.stitching.versions import TileNuclei

_BLANK = 215


@dataclass(frozen=True)
class TileResult:
    """The server's answer for one tile.

    Attributes
    ----------
    instance_map
        uint16 [256, 256]; 0 is background.
    nuclei
        float32 [n, 11]; row i - 1 describes instance i.
    tissue_probs
        float32 [19].
    release
        Which network, post-processing and thresholds answered.
    """

    instance_map: np.ndarray
    nuclei: np.ndarray
    tissue_probs: np.ndarray
    release: str


Results = list[tuple[Tile, TileResult]]


def batches(tiles: Iterable[Tile], size: int) -> list[list[Tile]]:
    """Tiles in requests of at most `size`."""
    tiles = list(tiles)
    return [tiles[start : start + size] for start in range(0, len(tiles), size)]


def tissue_weight(tile: np.ndarray) -> float:
    """How much a tile's guess of the tissue counts: the share of it that is not glass."""
    return 1e-6 + float(np.mean(tile[..., 1] < _BLANK))


def between(tiling: Tiling, results: Results) -> list[Tile]:
    """The tiles to be asked for as well, once all of an image are answered: nuclei were cut."""
    corners = still_wanted(_nuclei(results), *tiling.image.shape[:2])
    return [tiling.tile(y, x) for y, x in corners]


def assemble(
    tiling: Tiling,
    results: Results,
    shape: tuple[int, int],
    mpp: float,
    release: Release,
    more: Results | None = None,
) -> Nuclei:
    """Stitch the answers for all tiles of an image.

    Parameters
    ----------
    tiling, results
        The tiles of an image and the answers for them.
    shape
        Height and width of the image given.
    mpp
        Its micrometres per pixel.
    release
        What answered, and by which thresholds.
    more
        The answers for the tiles of `between`.

    Raises
    ------
    ServerError
        If a tile comes from another release, or the release has another scale than the tiles.
    """
    more = more or []
    names = {release.served, *(result.release for _, result in results + more)}
    if len(names) > 1 or release.mpp != tiling.mpp:
        raise ServerError(
            f"The server changed from one release to another in the middle of the image "
            f"({', '.join(sorted(names))}): segment it again."
        )
    height, width = tiling.image.shape[:2]
    weights = [tissue_weight(tile.image) for tile, _ in results]
    tissue = np.average([r.tissue_probs for _, r in results], axis=0, weights=weights)
    stitched = stitch(_nuclei(results), height, width, _nuclei(more))
    nuclei = describe(stitched, tiling, shape, mpp, tissue.astype(np.float32), release)
    if tiling.tissue is None:
        return nuclei
    x, y = nuclei.centroids.T
    return nuclei.where(lies_on(tiling.tissue, x, y, *shape))


def _nuclei(results: Results) -> list[TileNuclei]:
    return [TileNuclei(tile.y, tile.x, r.instance_map, r.nuclei) for tile, r in results]
