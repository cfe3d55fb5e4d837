"""Outlines of nuclei as vector tiles: ``nuclei.pmtiles``.

Every tile that a nucleus's box touches contains the whole outline; the map clips it to the tile.
From `Zooms.exact` on, outlines have all their corners; at `Zooms.fine` they are simplified, because
a screen shows more nuclei there. Lower zooms show densities, which the page computes from the
centroids.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pmtiles.tile import (
    Compression,
    MagicNumberNotFound,
    SpecVersionUnsupported,
    TileType,
    deserialize_header,
    zxy_to_tileid,
)
from pmtiles.writer import Writer

from tsfd_client.nuclei.table import (
    Info,
    boxes_of,
    classes_of,
    read_info,
    read_overlapping,
    rings_of,
)
from tsfd_client.view import mvt
from tsfd_client.view.zooms import Zooms

LAYER: Final = "nuclei"
_EXTENT: Final = 4096  # units per tile
_SPARED: Final = 0.13  # square micrometres: corners with a smaller triangle are left out
_ROUNDS: Final = 2  # each leaves out at most every second corner
_LEVEL: Final = 4  # of compression
_HEAD, _ROOT = 127, 16_257  # bytes of a PMTiles header, and at most of its root directory
_DAMAGE: Final = (
    *(MagicNumberNotFound, SpecVersionUnsupported, ValueError, IndexError),
    *(OSError, EOFError, zlib.error),  # of gzip
)


def write(parquet: Path, path: Path) -> None:
    """Write the outlines of a ``nuclei.parquet``.

    A feature has the id of its nucleus, its class id ``class`` and its probability ``prob`` in per
    cent.
    """
    info = read_info(parquet)
    zooms = Zooms(info.width, info.height, info.mpp)
    with path.open("wb") as file:
        archive = Writer(file)
        for tile, content in _tiles(parquet, info, zooms):
            archive.write_tile(zxy_to_tileid(*tile), gzip.compress(content, _LEVEL, mtime=0))
        archive.finalize(*_header(zooms))


def is_whole(parquet: Path, path: Path) -> bool:
    """Whether a file of outlines has its directory, and its end where that says."""
    with path.open("rb") as file:
        try:
            header = deserialize_header(file.read(_HEAD))
            gzip.decompress(file.read(min(header["root_length"], _ROOT)))
        except _DAMAGE:
            return False
    end: int = header["tile_data_offset"] + header["tile_data_length"]
    return end == path.stat().st_size


def _tiles(parquet: Path, info: Info, zooms: Zooms) -> Iterator[tuple[tuple[int, int, int], bytes]]:
    """Yield (zoom, x, y) and content of all tiles, or of one empty tile if there are none."""
    first = (zooms.fine, 0, 0)
    is_written = False
    strip = zooms.side(zooms.fine)
    for top in range(0, info.height, strip):
        nuclei = read_overlapping(parquet, top, top + strip)
        for tile, content in _strip(nuclei, info.release.class_names, zooms, top):
            is_written |= tile == first
            yield tile, content
    if not is_written:
        yield first, mvt.encode(LAYER, 1, np.empty(0, np.int64), {}, np.zeros(1), np.empty((0, 2)))


def _strip(
    table: pa.Table, names: Sequence[str], zooms: Zooms, top: int
) -> Iterator[tuple[tuple[int, int, int], bytes]]:
    """Yield (zoom, x, y) and content of the tiles within one row of tiles at `Zooms.fine`."""
    if not len(table):
        return
    ids = table["id"].to_numpy()
    attributes = {
        "class": classes_of(table, names),
        "prob": np.rint(100 * table["class_prob"].to_numpy()).astype(np.int64),
    }
    boxes = boxes_of(table)
    offsets, points = rings_of(table)
    bottom = top + zooms.side(zooms.fine)
    for zoom in sorted({zooms.fine, zooms.exact}):
        side = zooms.side(zoom)
        spared = 0 if zoom == zooms.exact else _SPARED * (_EXTENT / side / zooms.mpp) ** 2
        scaled = np.rint(points * (_EXTENT / side)).astype(np.int32)
        kept, begins, corners = _simple(offsets, scaled, spared)
        for (x, y), members in _touched(boxes[kept], side, top, bottom):
            rings, places = _pick(begins, members)
            content = mvt.encode(
                LAYER,
                _EXTENT,
                ids[kept][members],
                {name: values[kept][members] for name, values in attributes.items()},
                rings,
                corners[places] - np.array([x, y]) * _EXTENT,
            )
            yield (zoom, x, y), content


def _simple(
    offsets: np.ndarray, points: np.ndarray, spared: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simplify rings: drop repeated and collinear points, and some that hardly stand out.

    Parameters
    ----------
    spared
        Points whose triangle with their neighbours is smaller than this may be left out; 0 keeps
        all.

    Returns
    -------
    kept
        int64 [k]: indices of the rings that still have three corners or more.
    offsets, points
        Those rings, open.
    """
    opened = np.ones(len(points), bool)
    opened[offsets[1:] - 1] = False  # the last point repeats the first
    lengths, points = np.diff(offsets) - 1, points[opened]
    lengths, points = _drop(_is_repeated(lengths, points), lengths, points)
    lengths, points = _drop(_twice_area(lengths, points) == 0, lengths, points)
    for _ in range(_ROUNDS if spared else 0):
        # Never drop two neighbours at once: each triangle includes the other point.
        in_ring = np.arange(len(points)) - (np.cumsum(lengths) - lengths).repeat(lengths)
        spare = (np.abs(_twice_area(lengths, points)) < 2 * spared) & (in_ring % 2 == 1)
        lengths, points = _drop(spare & (lengths > 4).repeat(lengths), lengths, points)
    kept = np.flatnonzero(lengths >= 3)
    if len(kept) < len(lengths):
        points = points[(lengths >= 3).repeat(lengths)]
    return kept, np.concatenate([[0], np.cumsum(lengths[kept])]), points


def _drop(
    needless: np.ndarray, lengths: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Remove points from rings; return the new lengths and points."""
    kept_before = np.concatenate([[0], np.cumsum(~needless)])
    ends = np.cumsum(lengths)
    return kept_before[ends] - kept_before[ends - lengths], points[~needless]


def _neighbours(lengths: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points before and after each one in its ring."""
    ends = np.cumsum(lengths)[lengths > 0]
    starts = ends - lengths[lengths > 0]
    before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
    before[starts], after[ends - 1] = points[ends - 1], points[starts]
    return before, after


def _is_repeated(lengths: np.ndarray, points: np.ndarray) -> np.ndarray:
    before, _ = _neighbours(lengths, points)
    same: np.ndarray = (before[:, 0] == points[:, 0]) & (before[:, 1] == points[:, 1])
    return same


def _twice_area(lengths: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Twice the signed area of the triangle of each point and its neighbours."""
    before, after = _neighbours(lengths, points)
    to, on = points - before, after - points
    area: np.ndarray = to[:, 0] * on[:, 1] - on[:, 0] * to[:, 1]
    return area


def _touched(
    boxes: np.ndarray, side: int, top: int, bottom: int
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Yield the tiles between two rows of level 0, each with the indices of boxes touching it."""
    if not len(boxes):
        return
    first = np.floor(boxes[:, :2] / side).astype(np.int64)
    end = np.ceil(boxes[:, 2:] / side).astype(np.int64)
    first[:, 1] = np.maximum(first[:, 1], top // side)
    end[:, 1] = np.minimum(end[:, 1], bottom // side)
    places, members = [], []
    for dy in range((end - first)[:, 1].max()):
        for dx in range((end - first)[:, 0].max()):
            tile = first + np.array([dx, dy])
            touches = np.flatnonzero((tile < end).all(axis=1))
            places.append(tile[touches])
            members.append(touches)
    tiles, which = np.concatenate(places), np.concatenate(members)
    order = np.lexsort((which, tiles[:, 0], tiles[:, 1]))
    tiles, which = tiles[order], which[order]
    borders = np.flatnonzero((np.diff(tiles, axis=0) != 0).any(axis=1)) + 1
    for part in np.split(np.arange(len(which)), borders):
        x, y = tiles[part[0]].tolist()
        yield (x, y), which[part]


def _pick(offsets: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Select rings: return their new offsets and the indices of their points."""
    lengths = np.diff(offsets)[members]
    begins = np.concatenate([[0], np.cumsum(lengths)])
    shift = (offsets[members] - begins[:-1]).repeat(lengths)
    return begins, np.arange(begins[-1]) + shift


def _header(zooms: Zooms) -> tuple[dict[str, Any], dict[str, Any]]:
    header = {"tile_type": TileType.MVT, "tile_compression": Compression.GZIP} | zooms.bounds()
    layer = {"id": LAYER, "fields": {"class": "Number", "prob": "Number"}}
    return header, {"vector_layers": [layer]}
