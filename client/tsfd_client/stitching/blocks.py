"""Which tiles of an image are segmented, and in which blocks.

The tiles lie on one grid over the whole image; those without tissue are left out. A block is a
square of 16 x 16 grid cells that is read, stitched and written as one. Nuclei that its tiles cut
are segmented again in in-between tiles (`tsfd_client.stitching.between`), which reach into the
blocks to the right and below.
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
        Overlaps with the neighbouring tiles.
    """

    y: int
    x: int
    inner: Edges

    @property
    def corner(self) -> Corner:
        """Upper left corner in the image: y, x."""
        return self.y, self.x


@dataclass(frozen=True)
class Block:
    """A block of the plan.

    Attributes
    ----------
    row, column
        Position among the blocks.
    tiles
        Its tiles that have tissue, row by row.
    own
        The part of the image that no tile or in-between tile of another block covers.
    """

    row: int
    column: int
    tiles: tuple[PlannedTile, ...]
    own: Box

    @property
    def name(self) -> str:
        """Row and column, such as ``r003_c012``."""
        return f"r{self.row:03}_c{self.column:03}"

    @property
    def inner(self) -> dict[Corner, Edges]:
        """The edges of its tiles, by corner."""
        return {tile.corner: tile.inner for tile in self.tiles}

    @cached_property
    def box(self) -> Box:
        """Area covered by its tiles; extends beyond an image that is smaller than a tile."""
        ys, xs = [tile.y for tile in self.tiles], [tile.x for tile in self.tiles]
        return Box(min(ys), min(xs), max(ys) + TILE, max(xs) + TILE)


@dataclass(frozen=True)
class Plan:
    """The tiles of a slide.

    Attributes
    ----------
    height, width
        Size of the image, pixels at the network's scale.
    wanted
        bool [rows, columns]: which tiles of the grid are segmented.
    """

    height: int
    width: int
    wanted: np.ndarray

    def __len__(self) -> int:
        return int(self.wanted.sum())

    @cached_property
    def blocks(self) -> list[Block]:
        """The blocks that have any tiles, row by row."""
        return list(self._blocks())

    def rows(self) -> Iterator[tuple[list[Block], int]]:
        """Yield the blocks of each row, and the y at which the tiles of the next row begin."""
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
    """Lay the grid of tiles over an image.

    Parameters
    ----------
    height, width
        Size of the image, pixels at the network's scale.
    tissue
        bool [h, w], the whole image at any scale; None segments everything.
    """
    return Plan(height, width, touched(height, width, tissue))


def _own(edges: tuple[int, ...], first: int, length: int) -> tuple[int, int]:
    """Along one axis, begin and end of the pixels that no tile of another block covers."""
    # The block before may request an in-between tile midway to this block's first tile.
    begin = (edges[first - 1] + edges[first]) // 2 + TILE if first else 0
    end = edges[first + SIDE] if first + SIDE < len(edges) else length
    return begin, end
