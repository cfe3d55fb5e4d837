"""Which tiles of an image are segmented, and in which blocks.

The tiles lie on one grid over the whole image; those without tissue are left out. A block is a
square of 16 x 16 places of the grid, read, stitched and written as one. What its tiles cut is asked
for again in tiles between them (`tsfd_client.stitching.between`), which reach into the blocks on
the right and below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tsfd_client.contract import TILE
from tsfd_client.pixels.box import Box
from tsfd_client.stitching.grid import SIDE, starts, touched
from tsfd_client.stitching.versions import Corner, Edges, inner_edges


@dataclass(frozen=True)
class PlannedTile:
    """A tile to be segmented.

    Attributes
    ----------
    y, x
        Upper left corner, pixels at the network's scale.
    inner
        Where another tile goes on.
    """

    y: int
    x: int
    inner: Edges

    @property
    def corner(self) -> Corner:
        """Its place in the image."""
        return self.y, self.x


@dataclass(frozen=True)
class Block:
    """A block of the plan.

    Attributes
    ----------
    row, column
        Its place among the blocks.
    tiles
        Those of its places that have tissue, row by row.
    own
        The part of the image that no tile of another block covers, nor one between its tiles.
    """

    row: int
    column: int
    tiles: tuple[PlannedTile, ...]
    own: Box

    @property
    def name(self) -> str:
        """Such as ``r003_c012``."""
        return f"r{self.row:03}_c{self.column:03}"

    @property
    def inner(self) -> dict[Corner, Edges]:
        """The edges of its tiles."""
        return {tile.corner: tile.inner for tile in self.tiles}

    @property
    def box(self) -> Box:
        """What its tiles cover; reaches beyond an image that is smaller than a tile."""
        ys, xs = [tile.y for tile in self.tiles], [tile.x for tile in self.tiles]
        return Box(min(ys), min(xs), max(ys) + TILE, max(xs) + TILE)


@dataclass(frozen=True)
class Plan:
    """The tiles of a slide.

    Attributes
    ----------
    height, width
        Of the image, pixels at the network's scale.
    wanted
        bool [rows, columns]: which places of the grid are segmented.
    """

    height: int
    width: int
    wanted: np.ndarray

    def __len__(self) -> int:
        return int(self.wanted.sum())

    @cached_property
    def blocks(self) -> list[Block]:
        """The blocks that have tiles, row by row."""
        return list(self._blocks())

    def rows(self) -> Iterator[tuple[list[Block], int]]:
        """The blocks of each row, and where the tiles of the rows below it begin."""
        for first in range(0, len(self._ys), SIDE):
            blocks = [block for block in self.blocks if block.row == first // SIDE]
            below = self._ys[first + SIDE] if first + SIDE < len(self._ys) else self.height
            yield blocks, below

    @cached_property
    def _ys(self) -> tuple[int, ...]:
        return starts(self.height)

    @cached_property
    def _xs(self) -> tuple[int, ...]:
        return starts(self.width)

    def _blocks(self) -> Iterator[Block]:
        for row, top in enumerate(range(0, len(self._ys), SIDE)):
            for column, left in enumerate(range(0, len(self._xs), SIDE)):
                part = self.wanted[top : top + SIDE, left : left + SIDE]
                if part.any():
                    tiles = tuple(self._tile(top + i, left + j) for i, j in np.argwhere(part))
                    y0, y1 = _own(self._ys, top, self.height)
                    x0, x1 = _own(self._xs, left, self.width)
                    yield Block(row, column, tiles, Box(y0, x0, y1, x1))

    @cached_property
    def _inner(self) -> dict[tuple[int, int], Edges]:
        return inner_edges((self._ys[i], self._xs[j]) for i, j in np.argwhere(self.wanted))

    def _tile(self, i: int, j: int) -> PlannedTile:
        y, x = self._ys[i], self._xs[j]
        return PlannedTile(y, x, self._inner[y, x])


def make_plan(height: int, width: int, tissue: np.ndarray | None) -> Plan:
    """Lay tiles over an image.

    Parameters
    ----------
    height, width
        Of the image, pixels at the network's scale.
    tissue
        bool [h, w], the whole image at any scale, or None for everywhere.
    """
    return Plan(height, width, touched(height, width, tissue))


def _own(edges: tuple[int, ...], first: int, length: int) -> tuple[int, int]:
    """Where the pixels begin and end that no tile before or after this block's covers."""
    # The block before may ask for a tile midway to this block's first.
    begin = (edges[first - 1] + edges[first]) // 2 + TILE if first else 0
    end = edges[first + SIDE] if first + SIDE < len(edges) else length
    return begin, end
