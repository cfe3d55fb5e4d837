"""Join the nuclei of overlapping tiles: each comes out once and whole.

A nucleus that lies on a tile's inner edge is cut there, and a neighbouring tile usually holds it
whole. Whole versions are placed first, the most central first; a version that shares more than half
of the smaller one's pixels with a placed nucleus is the same nucleus. A nucleus that no tile holds
whole is united from its parts. The result does not depend on the order of the tiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tsfd_client.contract import AREA, CLASS, CLASS_PROB, TILE, X_MAX, X_MIN, Y_MAX, Y_MIN

_SAME = 0.5


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
    boxes: list[list[int]] = []
    areas: list[int] = []
    placed: list[_Version] = []
    for version in versions:
        height_, width_ = version.mask.shape
        y, x = version.y, version.x
        under = canvas[y : y + height_, x : x + width_]
        covered = under[version.mask]
        area = covered.size
        free = area - np.count_nonzero(covered)
        if free < area:
            shared = np.bincount(covered)
            shared[0] = 0
            most = int(shared.argmax())
            same = shared[most] > _SAME * min(area, areas[most - 1])
            if same and version.cut and placed[most - 1].cut:
                under[version.mask & (under == 0)] = most
                areas[most - 1] += free
                box = boxes[most - 1]
                box[0], box[1] = min(box[0], x), min(box[1], y)
                box[2], box[3] = max(box[2], x + width_), max(box[3], y + height_)
                continue
            if same or free <= _SAME * area:
                continue
        placed.append(version)
        under[version.mask & (under == 0)] = len(placed)
        boxes.append([x, y, x + width_, y + height_])
        areas.append(free)
    return Stitched(
        instance_map=canvas,
        boxes=np.array(boxes, np.int32).reshape(-1, 4),
        classes=np.array([v.nucleus_class for v in placed], np.uint8),
        class_probs=np.array([v.class_prob for v in placed], np.float32),
    )


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
            y=tile.y + y0,
            x=tile.x + x0,
            mask=mask,
            cut=cut,
            nucleus_class=int(row[CLASS]),
            class_prob=float(row[CLASS_PROB]),
        )
