"""Blocks of tiles stitched one by one, and what crosses their seams in a pass of its own.

    split        versions of a block's tiles -> its final nuclei, and versions left to the seams
    join_seams   versions left to the seams, row of blocks by row of blocks -> final nuclei
    to_table, from_table   versions as a table for a file, and back

Together they give exactly the nuclei of all versions joined at once, whatever the order of blocks
and however large a nucleus: versions that share no pixels decide nothing about each other.
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
        ("mask", pa.binary()),  # row by row, eight pixels a byte
        ("margin", pa.uint16()),
        ("nucleus_class", pa.uint8()),
        ("class_prob", pa.float32()),
    ]
)


def split(found: Sequence[Version], own: Box) -> tuple[list[Nucleus], list[Version]]:
    """Stitch what is decided within a block.

    Parameters
    ----------
    found
        Versions of all tiles of the block.
    own
        The pixels that no tile of another block covers.

    Returns
    -------
    closed
        Final nuclei, sorted by their places.
    open
        Versions that other blocks' versions may share pixels with, and those that share pixels with
        them: left to the seam pass.
    """
    return settle(found, partial(_is_inside, own))


def join_seams(rows: Iterable[tuple[Iterable[Version], int]]) -> Iterator[Nucleus]:
    """Stitch what was left to the seams; in memory is one row of blocks.

    Parameters
    ----------
    rows
        Of each row of blocks, from top to bottom: its open versions, and the y at which the tiles
        of the rows below it begin (any for the last). Taken one by one.

    Yields
    ------
    Nucleus
        As soon as no later version can touch it; those of a row sorted by their places.
    """
    waiting: list[Version] = []
    for row, below in rows:
        waiting += row
        closed, waiting = settle(waiting, partial(_ends_above, below))
        yield from closed
    yield from settle(waiting)[0]


def to_table(found: Sequence[Version]) -> pa.Table:
    """Versions as a table, one per row."""
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
    """The versions of `to_table`, equal to those that went in."""
    columns = [table[name].to_pylist() for name in _SCHEMA.names]
    for tile_y, tile_x, number, y, x, height, width, mask, *rest in zip(*columns, strict=True):
        bits = np.frombuffer(mask, np.uint8)
        pixels = np.unpackbits(bits, count=height * width).reshape(height, width)
        yield Version((tile_y, tile_x), number, y, x, pixels.view(bool), *rest)


def _ends_above(y: int, version: Version) -> bool:
    return version.box.bottom <= y


def _is_inside(own: Box, version: Version) -> bool:
    return own.holds(version.box)
