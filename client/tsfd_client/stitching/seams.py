"""Stitch blocks one by one, then the nuclei that cross the seams between them.

    split        stitch a block; leave versions at its borders to the seam pass
    join_seams   stitch the versions left to the seam pass, one row of blocks at a time
    to_table, from_table   convert versions to a table for a file, and back

The result is exactly that of joining all versions at once, whatever the order of the blocks and
the size of a nucleus, because versions that share no pixels do not affect each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from tsfd_client.pixels.box import Box
from tsfd_client.stitching.join import Nucleus, settle
from tsfd_client.stitching.versions import Version

_SCHEMA = pa.schema(
    [
        ("tile_y", pa.int32()),
        ("tile_x", pa.int32()),
        ("number", pa.uint16()),
        ("y", pa.int32()),
        ("x", pa.int32()),
        ("height", pa.uint16()),
        ("width", pa.uint16()),
        ("mask", pa.binary()),  # row by row, eight pixels per byte
        ("margin", pa.uint16()),
        ("nucleus_class", pa.uint8()),
        ("class_prob", pa.float32()),
    ]
)


def split(found: Sequence[Version], own: Box) -> tuple[list[Nucleus], list[Version]]:
    """Stitch the nuclei of a block that no other block can change.

    Parameters
    ----------
    found
        Versions from all tiles of the block.
    own
        The pixels that no tile of another block covers.

    Returns
    -------
    closed
        Final nuclei, sorted by their places.
    open
        Versions left to the seam pass: those that may overlap other blocks' versions, and those
        that overlap them in turn.
    """
    return settle(found, partial(_is_inside, own))


def join_seams(rows: Iterable[tuple[Iterable[Version], int]]) -> Iterator[Nucleus]:
    """Stitch the versions left to the seam pass, with one row of blocks in memory at a time.

    Parameters
    ----------
    rows
        For each row of blocks, from top to bottom: its open versions, and the y at which the tiles
        of the next row begin (any value for the last row). Consumed lazily.

    Yields
    ------
    Nucleus
        Each as soon as no later version can touch it; within a row, sorted by their places.
    """
    waiting: list[Version] = []
    for row, below in rows:
        waiting += row
        closed, waiting = settle(waiting, partial(_ends_above, below))
        yield from closed
    yield from settle(waiting)[0]


def to_table(found: Sequence[Version]) -> pa.Table:
    """Convert versions to a table, one row each."""
    columns = [
        [version.tile[0] for version in found],
        [version.tile[1] for version in found],
        [version.number for version in found],
        [version.y for version in found],
        [version.x for version in found],
        [version.mask.shape[0] for version in found],
        [version.mask.shape[1] for version in found],
        [np.packbits(version.mask).tobytes() for version in found],
        [version.margin for version in found],
        [version.nucleus_class for version in found],
        [version.class_prob for version in found],
    ]
    arrays = [pa.array(c, field.type) for c, field in zip(columns, _SCHEMA, strict=True)]
    return pa.table(arrays, schema=_SCHEMA)


def from_table(table: pa.Table) -> Iterator[Version]:
    """Restore the versions from a table made by `to_table`."""
    columns = [table[name].to_pylist() for name in _SCHEMA.names]
    for tile_y, tile_x, number, y, x, height, width, mask, *rest in zip(*columns, strict=True):
        bits = np.frombuffer(mask, np.uint8)
        pixels = np.unpackbits(bits, count=height * width).reshape(height, width)
        yield Version((tile_y, tile_x), number, y, x, pixels.view(bool), *rest)


def _ends_above(y: int, version: Version) -> bool:
    return version.box.bottom <= y


def _is_inside(own: Box, version: Version) -> bool:
    return own.holds(version.box)
