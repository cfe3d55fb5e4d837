"""All versions of an image joined at once: what the product's blocks and seams must equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tsfd_client.stitching.between import replace, wanted
from tsfd_client.stitching.grid import SIDE, place
from tsfd_client.stitching.join import Nucleus, settle
from tsfd_client.stitching.versions import Corner, Edges, TileNuclei, Version, inner_edges, versions


@dataclass(frozen=True)
class Stitched:
    """Nuclei of an image.

    Attributes
    ----------
    instance_map
        int32 [H, W]; 0 is background, ids 1..n.
    nuclei
        By id, sorted by their places. No two share pixels, except that one may lie in the middle of
        another: the map then shows it there.
    """

    instance_map: np.ndarray
    nuclei: list[Nucleus]

    @cached_property
    def boxes(self) -> np.ndarray:
        """int32 [n, 4]; x_min, y_min, x_max, y_max, half-open: the smallest of each instance."""
        corners = np.array([(n.x, n.y) for n in self.nuclei], np.int32).reshape(-1, 2)
        sizes = np.array([n.mask.shape[::-1] for n in self.nuclei], np.int32).reshape(-1, 2)
        return np.hstack([corners, corners + sizes])

    @cached_property
    def classes(self) -> np.ndarray:
        """uint8 [n], class ids, which begin with 1."""
        return np.array([n.nucleus_class for n in self.nuclei], np.uint8)

    @cached_property
    def class_probs(self) -> np.ndarray:
        """float32 [n]."""
        return np.array([n.class_prob for n in self.nuclei], np.float32)


def stitch(
    tiles: Iterable[TileNuclei], height: int, width: int, between: Iterable[TileNuclei] = ()
) -> Stitched:
    """Join the nuclei of all tiles of an image of `height` x `width` pixels.

    Parameters
    ----------
    tiles
        Of a grid, of which some may be missing.
    between
        Those that are `still_wanted`, or none of them.
    """
    inner, blocks = _blocks(tiles, height, width)
    more = {(tile.y, tile.x): tile for tile in _without_padding(between, height, width)}
    found: list[Version] = []
    for block in blocks:
        asked = [more[corner] for corner in wanted(block, inner)] if more else []
        found += replace(block, inner, asked, height, width)
    nuclei, _ = settle(found)
    instance_map = np.zeros((height, width), np.int32)
    for number, nucleus in enumerate(nuclei, start=1):
        rows, columns = nucleus.mask.shape
        under = instance_map[nucleus.y : nucleus.y + rows, nucleus.x : nucleus.x + columns]
        under[nucleus.mask] = number
    return Stitched(instance_map, nuclei)


def still_wanted(tiles: Sequence[TileNuclei], height: int, width: int) -> list[Corner]:
    """The corners of further tiles, between those of an image, that hold whole what those cut."""
    inner, blocks = _blocks(tiles, height, width)
    return sorted({corner for block in blocks for corner in wanted(block, inner)})


def _blocks(
    tiles: Iterable[TileNuclei], height: int, width: int
) -> tuple[dict[Corner, Edges], list[list[Version]]]:
    """The edges of all tiles, and the versions of each block."""
    tiles = _without_padding(tiles, height, width)
    inner = inner_edges((tile.y, tile.x) for tile in tiles)
    blocks: dict[Corner, list[Version]] = defaultdict(list)
    for tile in tiles:
        block = place(tile.y) // SIDE, place(tile.x) // SIDE
        blocks[block] += versions(tile, inner[tile.y, tile.x])
    return inner, list(blocks.values())


def _without_padding(tiles: Iterable[TileNuclei], height: int, width: int) -> list[TileNuclei]:
    """Where the image is smaller than a tile, the rest of the tile is padding."""
    return [
        TileNuclei(t.y, t.x, t.instance_map[: height - t.y, : width - t.x], t.nuclei) for t in tiles
    ]
