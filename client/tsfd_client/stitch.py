"""Join the nuclei of overlapping tiles: each comes out once and whole.

    versions     what each tile says of each of its nuclei
    components   versions that share pixels, directly or through others
    join         the nuclei of one component

The result does not depend on the order of the tiles, and components know nothing of each other: an
image can be joined part by part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tsfd_client.join import Nucleus, settle
from tsfd_client.versions import TileNuclei, inner_edges, versions


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
        """uint8 [n], 1..5."""
        return np.array([n.nucleus_class for n in self.nuclei], np.uint8)

    @cached_property
    def class_probs(self) -> np.ndarray:
        """float32 [n]."""
        return np.array([n.class_prob for n in self.nuclei], np.float32)


def stitch(tiles: Iterable[TileNuclei], height: int, width: int) -> Stitched:
    """Join the nuclei of all tiles of an image of `height` x `width` pixels."""
    # Where the image is smaller than a tile, the rest of the tile is padding.
    tiles = [
        TileNuclei(t.y, t.x, t.instance_map[: height - t.y, : width - t.x], t.nuclei) for t in tiles
    ]
    edges = inner_edges((tile.y, tile.x) for tile in tiles)
    found = [version for tile in tiles for version in versions(tile, edges[tile.y, tile.x])]
    nuclei, _ = settle(found)
    instance_map = np.zeros((height, width), np.int32)
    for number, nucleus in enumerate(nuclei, start=1):
        rows, columns = nucleus.mask.shape
        under = instance_map[nucleus.y : nucleus.y + rows, nucleus.x : nucleus.x + columns]
        under[nucleus.mask] = number
    return Stitched(instance_map, nuclei)
