"""Join the nuclei of overlapping tiles: each comes out once and whole.

A nucleus that ends at a tile's inner edge is cut there, and a neighbouring tile usually holds it
whole: what reaches less than half of the overlap into the tile is left to that neighbour. Whole
versions are placed first, the most central first; a version that shares more than half of the
smaller one's pixels with a placed nucleus is the same nucleus, unless that is a mere fragment of
it. A nucleus that no tile holds whole is united from its parts: those that agree on the pixels both
tiles see. In the end every nucleus is one piece without holes. The result does not depend on the
order of the tiles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tsfd_client.contract import AREA, CLASS, CLASS_PROB, TILE, X_MAX, X_MIN, Y_MAX, Y_MIN
from tsfd_client.outline import Box, crop, make_solid
from tsfd_client.tiling import OVERLAP

_SAME = 0.5
_MOSTLY = 0.6
_EDGE = 2  # pixels; a mask seldom fills a nucleus to the very edge of its tile
_STUB = OVERLAP // 2


@dataclass(frozen=True)
class TileNuclei:
    """Nuclei of one tile as the server returns them.

    Attributes
    ----------
    y, x
        Upper left corner of the tile in the image.
    instance_map
        uint16 [256, 256].
    nuclei
        float32 [n, 11]; row i - 1 describes instance i.
    """

    y: int
    x: int
    instance_map: np.ndarray
    nuclei: np.ndarray


@dataclass(frozen=True)
class Stitched:
    """Nuclei of an image.

    Attributes
    ----------
    instance_map
        int32 [H, W]; 0 is background, ids 1..n. Every instance is one 4-connected piece without
        holes.
    boxes
        int32 [n, 4]; x_min, y_min, x_max, y_max, half-open: the smallest of each instance.
    classes
        uint8 [n], 1..5.
    class_probs
        float32 [n].
    """

    instance_map: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    class_probs: np.ndarray


def stitch(tiles: Iterable[TileNuclei], height: int, width: int) -> Stitched:
    """Join the nuclei of all tiles of an image of `height` x `width` pixels."""
    versions = [version for tile in tiles for version in _versions(tile, height, width)]
    canvas = _Canvas(height, width)
    for version in sorted(versions, key=lambda version: version.rank):
        canvas.add(version)
    return canvas.finish()


@dataclass(frozen=True)
class _Version:
    """One tile's version of a nucleus; `mask` is bool and fills `box`."""

    rank: tuple[float, ...]
    tile: tuple[int, int]
    box: Box
    mask: np.ndarray
    cut: bool
    nucleus_class: int
    class_prob: float


def _versions(tile: TileNuclei, height: int, width: int) -> Iterator[_Version]:
    # Inner edges: those where the image goes on.
    top, left = tile.y > 0, tile.x > 0
    bottom, right = tile.y + TILE < height, tile.x + TILE < width
    for number, row in enumerate(tile.nuclei, start=1):
        x0, y0, x1, y1 = (int(row[column]) for column in (X_MIN, Y_MIN, X_MAX, Y_MAX))
        # Where the image is smaller than a tile, the rest of the tile is padding.
        x1, y1 = min(x1, width - tile.x), min(y1, height - tile.y)
        # How far from each inner edge the nucleus begins and ends.
        spans = [
            (begin, end)
            for inner, begin, end in (
                (top, y0, y1),
                (left, x0, x1),
                (bottom, TILE - y1, TILE - y0),
                (right, TILE - x1, TILE - x0),
            )
            if inner
        ]
        if any(begin <= _EDGE and end < _STUB for begin, end in spans):
            continue
        mask = tile.instance_map[y0:y1, x0:x1] == number
        if not mask.any():
            continue
        margin = min((begin for begin, _ in spans), default=TILE)
        cut = margin <= _EDGE
        order = -float(row[AREA]) if cut else -margin
        box = (tile.x + x0, tile.y + y0, tile.x + x1, tile.y + y1)
        yield _Version(
            rank=(cut, order, box[1], box[0], tile.y, tile.x, number),
            tile=(tile.y, tile.x),
            box=box,
            mask=mask,
            cut=cut,
            nucleus_class=int(row[CLASS]),
            class_prob=float(row[CLASS_PROB]),
        )


@dataclass
class _Placed:
    """A nucleus on the canvas: the first of its versions, and what all of them cover."""

    version: _Version
    box: Box
    area: int


class _Canvas:
    """The image while versions are placed, the best first; what is placed keeps its pixels."""

    def __init__(self, height: int, width: int) -> None:
        self._instance_map = np.zeros((height, width), np.int32)
        self._placed: dict[int, _Placed] = {}
        self._next = 1

    def add(self, version: _Version) -> None:
        under = crop(self._instance_map, version.box)
        covered = under[version.mask]
        taken = covered[covered > 0]
        free = covered.size - taken.size
        shared = Counter(taken.tolist())
        parts = sorted(n for n in shared if self._is_part(version, n, shared[n]))
        if parts:
            number = self._unite(parts, version, free)
        elif self._is_known(shared, free):
            return
        else:
            number = self._next
            self._next += 1
            self._placed[number] = _Placed(version, version.box, free)
        under[version.mask & (under == 0)] = number

    def finish(self) -> Stitched:
        """Make the nuclei solid and number them as they were placed."""
        boxes = make_solid(self._instance_map, {n: p.box for n, p in self._placed.items()})
        renumber = np.zeros(self._next, np.int32)
        renumber[list(boxes)] = np.arange(1, len(boxes) + 1)
        versions = [self._placed[number].version for number in boxes]
        return Stitched(
            instance_map=renumber[self._instance_map],
            boxes=np.array(list(boxes.values()), np.int32).reshape(-1, 4),
            classes=np.array([version.nucleus_class for version in versions], np.uint8),
            class_probs=np.array([version.class_prob for version in versions], np.float32),
        )

    def _is_part(self, version: _Version, number: int, shared: int) -> bool:
        """Whether both are cut parts of one nucleus: in the version's tile they agree."""
        nucleus = self._placed[number]
        if not (version.cut and nucleus.version.cut):
            return False
        y, x = version.tile
        x0, y0, x1, y1 = nucleus.box
        in_tile = (max(x0, x), max(y0, y), min(x1, x + TILE), min(y1, y + TILE))
        seen = int(np.count_nonzero(crop(self._instance_map, in_tile) == number))
        return shared > _SAME * seen

    def _unite(self, parts: list[int], version: _Version, free: int) -> int:
        """Join nuclei and a version that fills `free` pixels between them; returns the id."""
        keeper, *others = parts
        nucleus = self._placed[keeper]
        for number in others:
            other = self._placed.pop(number)
            pixels = crop(self._instance_map, other.box)
            pixels[pixels == number] = keeper
            nucleus.area += other.area
            nucleus.box = _union(nucleus.box, other.box)
        nucleus.area += free
        nucleus.box = _union(nucleus.box, version.box)
        return keeper

    def _is_known(self, shared: Counter[int], free: int) -> bool:
        """Whether a version is a nucleus it shares pixels with, or lies mostly in several."""
        if not shared:
            return False
        [(most, pixels)] = shared.most_common(1)
        area = free + shared.total()
        # Where most of a version is free, what was placed is a fragment and does not speak for it.
        same = pixels > _SAME * min(area, self._placed[most].area) and free < _MOSTLY * area
        return same or free <= _SAME * area


def _union(first: Box, second: Box) -> Box:
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )
