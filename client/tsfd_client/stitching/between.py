"""In-between tiles: segment a cut nucleus again, in a tile that contains all of it.

    wanted    choose the in-between tiles that a block needs
    replace   replace cut versions by those of the in-between tiles

A nucleus that extends beyond the overlap of two tiles is cut by both. Usually the tiles agree where
they overlap, and the parts are united. If they disagree, the nucleus would end in a straight line
at a tile's edge. The tile midway between the two (or between the four around a corner) is then
segmented as well, and its version is used.

Each block decides from its own versions alone, so a slide and the same image in memory give the
same nuclei. Where two blocks meet, the upper or left one requests the tile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tsfd_client.contract import TILE
from tsfd_client.pixels.box import Box
from tsfd_client.stitching.grid import SIDE, place
from tsfd_client.stitching.join import Nucleus, components, join
from tsfd_client.stitching.versions import EDGE, STUB, Corner, Edges, TileNuclei, Version, versions

STRAIGHT = 16
"""Length of a straight edge, in pixels, from which an outline counts as cut (4 micrometres)."""


def wanted(found: Sequence[Version], inner: Mapping[Corner, Edges]) -> list[Corner]:
    """Return the corners of the in-between tiles that a block needs, sorted.

    Parameters
    ----------
    found
        Versions from all tiles of the block.
    inner
        The edges of those tiles.
    """
    corners: set[Corner] = set()
    for component in components(found):
        cut = [
            (version, corner)
            for version in component
            if version.cut and (corner := _between(version.tile, version.box, inner[version.tile]))
        ]
        if cut:
            nuclei = join(component)
            corners |= {c for version, c in cut if any(_ends_at(n, version) for n in nuclei)}
    return sorted(corners)


def replace(
    found: Iterable[Version],
    inner: Mapping[Corner, Edges],
    between: Iterable[TileNuclei],
    height: int,
    width: int,
) -> list[Version]:
    """Replace cut versions by those of the in-between tiles.

    A version stays if the in-between tile cuts most of it as well.

    Parameters
    ----------
    found
        Versions from all tiles of a block.
    inner
        The edges of those tiles.
    between
        The in-between tiles chosen by `wanted`.
    height, width
        Size of the image, pixels.
    """
    tiles = {(tile.y, tile.x): tile for tile in between}
    answers = {
        corner: {v.number: v for v in versions(tile, _edges(corner, height, width))}
        for corner, tile in tiles.items()
    }
    if not tiles:
        return list(found)
    kept: list[Version] = []
    instead: dict[tuple[Corner, int], Version] = {}
    for version in found:
        corner = _between(version.tile, version.box, inner[version.tile])
        if corner is None or corner not in tiles:
            kept.append(version)
            continue
        shared = _shared(version, tiles[corner])
        there = [answers[corner][number] for number in shared if number in answers[corner]]
        if 2 * sum(shared[v.number] for v in there if v.cut) > np.count_nonzero(version.mask):
            kept.append(version)
        else:
            instead |= {(corner, v.number): v for v in there if not v.cut}
    return kept + list(instead.values())


def _between(tile: Corner, box: Box, inner: Edges) -> Corner | None:
    """Return the corner of the in-between tile that contains all of a nucleus cut by `tile`.

    None if `tile` does not cut it, if another tile contains or requests it, or if it is too large.
    """
    top, left, bottom, right = box
    y = _start(tile[0], top, bottom, inner.top, inner.bottom)
    x = _start(tile[1], left, right, inner.left, inner.right)
    return None if y is None or x is None or (y, x) == tile else (y, x)


def _start(start: int, low: int, high: int, before: int, after: int) -> int | None:
    """Along one axis, the start of the tile that contains `low` to `high`; None if there is none.

    `before` and `after` are the overlaps with the neighbours.
    """
    end = start + TILE
    cut_before, cut_after = before and low - start <= EDGE, after and end - high <= EDGE
    if cut_before and cut_after:
        return None
    if cut_before:
        left_to_others = high - start < STUB * before or place(start) % SIDE == 0
        return None if left_to_others else start - (TILE - before + 1) // 2
    if cut_after:
        return None if end - low < STUB * after else start + (TILE - after) // 2
    return start


def _ends_at(nucleus: Nucleus, version: Version) -> bool:
    """Whether a nucleus ends in a straight line at an edge of the version's tile."""
    tile_y, tile_x = version.tile
    rows, columns = nucleus.mask, nucleus.mask.T
    below, beside = nucleus.y + len(rows) - TILE, nucleus.x + len(columns) - TILE
    return (
        _begins(rows, tile_y - nucleus.y)
        or _begins(rows[::-1], below - tile_y)
        or _begins(columns, tile_x - nucleus.x)
        or _begins(columns[::-1], beside - tile_x)
    )


def _begins(lines: np.ndarray, edge: int) -> bool:
    """Whether a mask begins in a straight line at row `edge` or up to `EDGE` rows after it."""
    for row in range(max(0, edge), min(len(lines), edge + EDGE + 1)):
        begins = lines[row] & ~lines[row - 1] if row else lines[row]
        turns = np.flatnonzero(np.diff(begins, prepend=False, append=False))
        if len(turns) and (turns[1::2] - turns[::2]).max() >= STRAIGHT:
            return True
    return False


def _edges(corner: Corner, height: int, width: int) -> Edges:
    """The edges of an in-between tile: inner unless the image ends there."""
    y, x = corner
    return Edges(y > 0, x > 0, y + TILE < height, x + TILE < width)


def _shared(version: Version, tile: TileNuclei) -> dict[int, int]:
    """Count the pixels that a version shares with each nucleus of a tile, by instance number."""
    top, left, bottom, right = version.box
    y0, x0 = max(top, tile.y), max(left, tile.x)
    under = tile.instance_map[y0 - tile.y : bottom - tile.y, x0 - tile.x : right - tile.x]
    mask = version.mask[y0 - top :, x0 - left :][: under.shape[0], : under.shape[1]]
    pixels = np.bincount(under[mask])
    return {number: int(pixels[number]) for number in np.flatnonzero(pixels).tolist() if number}
