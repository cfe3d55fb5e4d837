"""Build the nuclei of an image from the server's answers for its tiles. Needs no connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from tsfd_client.contract import TISSUES
from tsfd_client.errors import ServerError
from tsfd_client.nuclei.result import Nuclei, from_table
from tsfd_client.nuclei.table import SCHEMA, from_nuclei, from_seams, on_tissue
from tsfd_client.release import Release
from tsfd_client.stitching.between import replace, wanted
from tsfd_client.stitching.blocks import Plan
from tsfd_client.stitching.seams import join_seams, split
from tsfd_client.stitching.tiling import Tile, Tiling
from tsfd_client.stitching.versions import Corner, TileNuclei, Version, versions

_BLANK = 215  # green channel; pixels at or above are glass


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
        Name of the release that answered.
    """

    instance_map: np.ndarray
    nuclei: np.ndarray
    tissue_probs: np.ndarray
    release: str

    def at(self, y: int, x: int, plan: Plan) -> TileNuclei:
        """Return the nuclei of a tile whose upper left corner is given, without its padding."""
        # If the image is smaller than a tile, the rest of the tile is padding.
        inside = self.instance_map[: plan.height - y, : plan.width - x]
        return TileNuclei(y, x, inside, self.nuclei)


Results = list[tuple[Tile, TileResult]]
_Tile = TypeVar("_Tile")


def batches(tiles: Iterable[_Tile], size: int) -> list[list[_Tile]]:
    """Split tiles into batches of at most `size`."""
    tiles = list(tiles)
    return [tiles[start : start + size] for start in range(0, len(tiles), size)]


class Assembly:
    """Collects the answers for all tiles of an image and merges them into its nuclei.

    Parameters
    ----------
    tiling, results
        The tiles of an image and the answers for them.

    Attributes
    ----------
    between
        In-between tiles to segment as well: each contains all of a nucleus that other tiles cut.
    """

    def __init__(self, tiling: Tiling, results: Results) -> None:
        self._tiling = tiling
        self._results = results
        self._found: dict[str, list[Version]] = {}
        self._wanted: dict[str, list[Corner]] = {}
        answers = {(tile.y, tile.x): r.at(tile.y, tile.x, tiling.plan) for tile, r in results}
        for block in tiling.plan.blocks:
            answered = [(answers[t.corner], t.inner) for t in block.tiles if t.corner in answers]
            found = [v for nuclei, inner in answered for v in versions(nuclei, inner)]
            self._found[block.name] = found
            self._wanted[block.name] = wanted(found, block.inner)
        corners = sorted({corner for block in self._wanted.values() for corner in block})
        self.between = [tiling.tile(y, x) for y, x in corners]

    def nuclei(self, more: Results, release: Release) -> Nuclei:
        """Stitch the answers.

        Parameters
        ----------
        more
            The answers for the tiles of `between`; without them, cut nuclei stay cut.
        release
            The release that answered, with the thresholds in force.

        Raises
        ------
        ServerError
            If a tile comes from another release, or the release has another scale than the tiles.
        """
        tiling = self._tiling
        names = {release.served, *(result.release for _, result in self._results + more)}
        if len(names) > 1 or release.mpp != tiling.mpp:
            raise ServerError(
                f"The server switched to another release in the middle of the image "
                f"({', '.join(sorted(names))}): segment it again."
            )
        table = pa.concat_tables([SCHEMA.remove(0).empty_table(), *self._tables(more, release)])
        if tiling.tissue is not None:
            table = on_tissue(table, tiling.tissue, *tiling.shape)
        return from_table(table, tiling, self._tissue_probs(), release)

    def _tables(self, more: Results, release: Release) -> Iterator[pa.Table]:
        """Yield the nuclei of each block, then those of the seams, in the order of a run's file."""
        tiling, plan = self._tiling, self._tiling.plan
        asked = {(tile.y, tile.x): r.at(tile.y, tile.x, plan) for tile, r in more}
        left_open: dict[str, list[Version]] = {}
        for block in plan.blocks:
            between = [asked[c] for c in self._wanted[block.name] if c in asked]
            found = self._found[block.name]
            found = replace(found, block.inner, between, plan.height, plan.width)
            closed, left_open[block.name] = split(found, block.own)
            yield from_nuclei(closed, scale=tiling.scale, mpp=tiling.given_mpp, release=release)
        rows = (
            ([v for block in blocks for v in left_open[block.name]], below)
            for blocks, below in plan.rows()
        )
        yield from from_seams(
            join_seams(rows), scale=tiling.scale, mpp=tiling.given_mpp, release=release
        )

    def _tissue_probs(self) -> np.ndarray:
        """Mean over the tiles, weighted by the non-glass fraction of each; float32 [19]."""
        if not self._results:
            return np.full(len(TISSUES), 1 / len(TISSUES), np.float32)
        weights = [1e-6 + float(np.mean(t.image[..., 1] < _BLANK)) for t, _ in self._results]
        probs = np.average([r.tissue_probs for _, r in self._results], axis=0, weights=weights)
        return np.asarray(probs, np.float32)
