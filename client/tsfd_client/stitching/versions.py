"""Each tile's versions of the nuclei; where tiles overlap, a nucleus has several.

A nucleus that ends at an inner edge of a tile is cut there. If it extends less than seven eighths
of the overlap into the tile, it is a stub and is dropped: the neighbour contains all of it. If it
extends further, the neighbour cuts it, too: see `tsfd_client.stitching.between`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tsfd_client.contract import CLASS, CLASS_PROB, TILE, X_MIN, Y_MAX
from tsfd_client.pixels.box import Box
from tsfd_client.stitching.outline import solid_piece
from tsfd_client.stitching.runs import runs_of

STUB = 0.875
"""Fraction of the overlap; a cut nucleus that extends less far is left to the neighbour."""
EDGE = 2
"""Pixels from a tile's edge within which a nucleus counts as cut; few masks reach the very edge."""


@dataclass(frozen=True)
class TileNuclei:
    """Nuclei of one tile as the server returns them.

    Attributes
    ----------
    y, x
        Upper left corner of the tile in the image.
    instance_map
        uint16 [256, 256]; smaller where the image ends.
    nuclei
        float32 [n, 11]; row i - 1 describes instance i.
    """

    y: int
    x: int
    instance_map: np.ndarray
    nuclei: np.ndarray


Corner = tuple[int, int]
"""Upper left corner of a tile in the image: y, x."""


class Edges(NamedTuple):
    """Pixels that a tile shares with its neighbour across each edge.

    0 where there is no neighbour; an edge with one is called inner.
    """

    top: int
    left: int
    bottom: int
    right: int


@dataclass(slots=True)  # not frozen: creating a frozen one takes several times as long
class Version:
    """One tile's version of a nucleus.

    Attributes
    ----------
    tile
        Upper left corner of the tile in the image: y, x.
    number
        Instance number in the tile.
    y, x
        Upper left corner of the mask in the image.
    mask
        bool [h, w]: one 4-connected piece without holes, in its smallest box.
    margin
        Pixels between the nucleus and the nearest inner edge of the tile.
    nucleus_class
        Class id, which begins with 1.
    class_prob
        0..1.
    """

    tile: Corner
    number: int
    y: int
    x: int
    mask: np.ndarray
    margin: int
    nucleus_class: int
    class_prob: float

    @property
    def box(self) -> Box:
        """Bounding box in the image."""
        height, width = self.mask.shape
        return Box(self.y, self.x, self.y + height, self.x + width)

    @property
    def cut(self) -> bool:
        """Whether it ends at an inner edge of its tile."""
        return self.margin <= EDGE

    @property
    def rank(self) -> tuple[int, ...]:
        """Sort key, unique to each version: the lowest is placed first."""
        order = int(np.count_nonzero(self.mask)) if self.cut else self.margin
        return (self.cut, -order, self.y, self.x, *self.tile, self.number)


def inner_edges(corners: Iterable[Corner]) -> dict[Corner, Edges]:
    """Find the inner edges of the tiles of a grid, some of which may be missing.

    Parameters
    ----------
    corners
        Upper left corners of the tiles that are present: y, x.
    """
    by_row = sorted(corners)
    by_column = sorted(by_row, key=lambda corner: corner[1])
    # For each tile, its neighbours below and to the right.
    below = {a: b for a, b in pairwise(by_column) if a[1] == b[1] and b[0] - a[0] < TILE}
    beside = {a: b for a, b in pairwise(by_row) if a[0] == b[0] and b[1] - a[1] < TILE}
    above, before = ({b: a for a, b in pairs.items()} for pairs in (below, beside))
    neighbours = (above, before, below, beside)
    return {c: Edges(*(_shared(c, others.get(c)) for others in neighbours)) for c in by_row}


def _shared(corner: Corner, other: Corner | None) -> int:
    return 0 if other is None else TILE - abs(other[0] - corner[0]) - abs(other[1] - corner[1])


def versions(tile: TileNuclei, inner: Edges) -> Iterator[Version]:
    """Yield a tile's versions of its nuclei, without stubs."""
    boxes = tile.nuclei[:, X_MIN : Y_MAX + 1].astype(np.int32)
    x0, y0, x1, y1 = boxes.T
    # Distance from each inner edge at which each nucleus begins and ends.
    shared = np.array(inner, int)[:, None]
    is_inner = shared[:, 0] > 0
    begins = np.array([y0, x0, TILE - y1, TILE - x1])[is_inner]
    ends = np.array([y1, x1, TILE - y0, TILE - x0])[is_inner]
    stubs = ((begins <= EDGE) & (ends < STUB * shared[is_inner])).any(axis=0)
    margins = begins.min(axis=0, initial=TILE)
    kept = np.flatnonzero(~stubs)
    numbers, places = (kept + 1).astype(tile.instance_map.dtype), boxes[kept].tolist()
    masks = [
        tile.instance_map[top:bottom, left:right] == number
        for number, (left, top, right, bottom) in zip(numbers, places, strict=True)
    ]
    runs = runs_of(masks)
    are_solid = runs.plain() & runs.wide()
    classes, class_probs = tile.nuclei[kept, CLASS].astype(int), tile.nuclei[kept, CLASS_PROB]
    columns = (numbers, are_solid, margins[kept], classes, class_probs)
    rows = zip(places, masks, *(column.tolist() for column in columns), strict=True)
    for (left, top, *_), mask, number, is_solid, *rest in rows:
        y, x = tile.y + top, tile.x + left
        if is_solid:
            yield Version((tile.y, tile.x), number, y, x, mask, *rest)
        elif mask.any():
            down, right, piece = solid_piece(mask)
            yield Version((tile.y, tile.x), number, y + down, x + right, piece, *rest)
