"""Join the nuclei of overlapping tiles: each comes out once and whole.

A nucleus that lies on a tile's inner edge is cut there, and a neighbouring tile usually holds it
whole. Whole versions are placed first, the most central first; a version that shares more than half
of the smaller one's pixels with a placed nucleus is the same nucleus. A nucleus that no tile holds
whole is united from its parts: those that agree on the pixels
both tiles see. The result does not depend on the order of the tiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tsfd_client.contract import AREA, CLASS, CLASS_PROB, TILE, X_MAX, X_MIN, Y_MAX, Y_MIN

_SAME = 0.5
Box = tuple[int, int, int, int]
"""x_min, y_min, x_max, y_max, half-open."""


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
        int32 [H, W]; 0 is background, ids 1..n.
    boxes
        int32 [n, 4]; x_min, y_min, x_max, y_max, half-open.
    classes
        uint8 [n], 1..5.
    class_probs
        float32 [n].
    """

    instance_map: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    class_probs: np.ndarray


@dataclass(frozen=True)
class _Version:
    """One tile's version of a nucleus."""

    rank: tuple
    tile: tuple[int, int]
    y: int
    x: int
    mask: np.ndarray
    cut: bool
    nucleus_class: int
    class_prob: float


def stitch(tiles: Iterable[TileNuclei], height: int, width: int) -> Stitched:
    """Join the nuclei of all tiles of an image of `height` x `width` pixels."""
    versions = [v for tile in tiles for v in _versions(tile, height, width)]
    versions.sort(key=lambda version: version.rank)

    canvas = np.zeros((height, width), np.int32)
    boxes: list[Box] = []
    areas: list[int] = []
    placed: list[_Version] = []
    for version in versions:
        box = (version.x, version.y, *_end(version))
        under = _crop(canvas, box)
        covered = under[version.mask]
        free = covered.size - np.count_nonzero(covered)
        shared = np.bincount(covered, minlength=1)
        shared[0] = 0
        if version.cut:
            parts = [
                number
                for number in np.flatnonzero(shared)
                if placed[number - 1].cut
                and shared[number] > _SAME * _pixels_in_tile(canvas, number, boxes, version)
            ]
            if parts:
                keeper = parts[0]
                for number in parts[1:]:
                    part = _crop(canvas, boxes[number - 1])
                    part[part == number] = keeper
                    areas[keeper - 1] += areas[number - 1]
                    areas[number - 1] = 0
                    boxes[keeper - 1] = _union(boxes[keeper - 1], boxes[number - 1])
                under[version.mask & (under == 0)] = keeper
                areas[keeper - 1] += free
                boxes[keeper - 1] = _union(boxes[keeper - 1], box)
                continue
        if free < covered.size:
            most = int(shared.argmax())
            same = shared[most] > _SAME * min(covered.size, areas[most - 1])
            if same or free <= _SAME * covered.size:
                continue
        placed.append(version)
        under[version.mask & (under == 0)] = len(placed)
        boxes.append(box)
        areas.append(free)

    kept = np.flatnonzero(areas)
    renumber = np.zeros(len(areas) + 1, np.int32)
    renumber[kept + 1] = np.arange(1, len(kept) + 1)
    return Stitched(
        instance_map=canvas if len(kept) == len(areas) else renumber[canvas],
        boxes=np.array([boxes[i] for i in kept], np.int32).reshape(-1, 4),
        classes=np.array([placed[i].nucleus_class for i in kept], np.uint8),
        class_probs=np.array([placed[i].class_prob for i in kept], np.float32),
    )


def _end(version: _Version) -> tuple[int, int]:
    height, width = version.mask.shape
    return version.x + width, version.y + height


def _crop(canvas: np.ndarray, box: Box) -> np.ndarray:
    x0, y0, x1, y1 = box
    return canvas[y0:y1, x0:x1]


def _union(first: Box, second: Box) -> Box:
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )


def _pixels_in_tile(canvas: np.ndarray, number: int, boxes: list[Box], version: _Version) -> int:
    """Pixels of a placed nucleus in the tile that `version` comes from."""
    x0, y0, x1, y1 = boxes[number - 1]
    top, left = version.tile
    seen = canvas[max(y0, top) : min(y1, top + TILE), max(x0, left) : min(x1, left + TILE)]
    return np.count_nonzero(seen == number)


def _versions(tile: TileNuclei, height: int, width: int) -> Iterable[_Version]:
    top, left = tile.y > 0, tile.x > 0
    bottom, right = tile.y + TILE < height, tile.x + TILE < width
    for number, row in enumerate(tile.nuclei, start=1):
        x0, y0, x1, y1 = (int(row[column]) for column in (X_MIN, Y_MIN, X_MAX, Y_MAX))
        # Where the image is smaller than a tile, the rest of the tile is padding.
        x1, y1 = min(x1, width - tile.x), min(y1, height - tile.y)
        if x0 >= x1 or y0 >= y1:
            continue
        mask = tile.instance_map[y0:y1, x0:x1] == number
        if not mask.any():
            continue
        cut = (
            (top and y0 == 0)
            or (left and x0 == 0)
            or (bottom and y1 == TILE)
            or (right and x1 == TILE)
        )
        margin = min(
            y0 if top else TILE,
            x0 if left else TILE,
            TILE - y1 if bottom else TILE,
            TILE - x1 if right else TILE,
        )
        order = -row[AREA] if cut else -margin
        yield _Version(
            rank=(cut, order, tile.y + y0, tile.x + x0, tile.y, tile.x, number),
            tile=(tile.y, tile.x),
            y=tile.y + y0,
            x=tile.x + x0,
            mask=mask,
            cut=cut,
            nucleus_class=int(row[CLASS]),
            class_prob=float(row[CLASS_PROB]),
        )
