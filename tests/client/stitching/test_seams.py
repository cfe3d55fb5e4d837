"""Blocks and seams against the image as a whole: the same nuclei, pixel for pixel.

A stand-in server says of every tile something else about the same nuclei: it moves their borders,
misses, splits and merges them. Some nuclei are larger than a block.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from samples.synthetic import generate
from tests.client.stitching.at_once import still_wanted, stitch
from tsfd_client.pixels.box import Box
from tsfd_client.stitching.between import replace, wanted
from tsfd_client.stitching.blocks import make_plan
from tsfd_client.stitching.grid import OVERLAP, SIDE, STEP, starts
from tsfd_client.stitching.join import Nucleus
from tsfd_client.stitching.outline import outline
from tsfd_client.stitching.seams import from_table, join_seams, split, to_table
from tsfd_client.stitching.versions import TileNuclei, Version, inner_edges, versions

_TILE = 256
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_STRIPES = np.indices((_TILE, _TILE)).sum(axis=0) % 97 < 48
_SEEDS = st.integers(0, 10_000)
_FEW = settings(max_examples=6, deadline=None, derandomize=True)


@cache
def _field() -> np.ndarray:
    """Nuclei of which every slide takes a part, int32 [1200, 1200]."""
    return generate(1200, 1200, nuclei=1200**2 // 3500, seed=1).instance_map.astype(np.int32)


class _Slide:
    """Tiles of a slide with what a wobbling server says of them, and the blocks they lie in."""

    def __init__(self, seed: int, side: int = 2, missing: float = 0.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.side = side
        self.ys, self.xs = (
            (*range(0, last, _TILE - OVERLAP), last)
            for last in self.rng.integers(300, 900, 2).tolist()
        )
        self.shape = self.ys[-1] + _TILE, self.xs[-1] + _TILE
        truth = self._truth()
        self.tiles = {
            (i, j): self._answer(truth, y, x)
            for i, y in enumerate(self.ys)
            for j, x in enumerate(self.xs)
            if self.rng.random() >= missing
        }

    def _truth(self) -> np.ndarray:
        height, width = self.shape
        truth = _field()[:height, :width].copy()
        # On corners and edges of tiles, as long as a block and as thick as the overlap.
        for _ in range(5):
            centre = [int(self.rng.choice(starts)) for starts in (self.xs, self.ys)]
            axes = [int(self.rng.integers(15, longest)) for longest in (350, 80)]
            angle = float(self.rng.uniform(0, 180))
            cv2.ellipse(truth, centre, axes, angle, 0, 360, int(truth.max()) + 1, -1)
        return truth

    def _answer(self, truth: np.ndarray, y: int, x: int) -> TileNuclei:
        instance_map = np.zeros((_TILE, _TILE), np.uint16)
        rows: list[tuple[float, ...]] = []
        part = truth[y : y + _TILE, x : x + _TILE]
        masks = [part == number for number in np.unique(part[part > 0])]
        for mask in self._wobble(masks):
            pixels = (mask & (instance_map == 0)).astype(np.uint8)
            _, pieces, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=4)
            if len(stats) == 1:
                continue
            largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            left, top, width, height, area = stats[largest].tolist()
            instance_map[pieces == largest] = len(rows) + 1
            box = left, top, left + width, top + height
            rows.append((0, 0, *box, area, 1 + len(rows) % 5, self.rng.random(), 0, 0))
        return TileNuclei(y, x, instance_map, np.array(rows, np.float32).reshape(-1, 11))

    def _wobble(self, masks: list[np.ndarray]) -> Iterator[np.ndarray]:
        for i, mask in enumerate(masks):
            fate = self.rng.random()
            if fate < 0.1:
                continue
            if fate < 0.2:
                inside = cv2.erode(mask.view(np.uint8), _CROSS, iterations=3, borderValue=0)
                yield mask & (inside == 0)  # a ring
            elif fate < 0.3:
                near = masks[(i + 1) % len(masks)]
                yield cv2.morphologyEx((mask | near).astype(np.uint8), cv2.MORPH_CLOSE, _CROSS) > 0
            elif fate < 0.4:
                yield mask & _STRIPES
            else:
                change = cv2.erode if fate < 0.7 else cv2.dilate
                yield change(mask.astype(np.uint8), _CROSS) > 0

    def rows(self, order: random.Random) -> Iterator[tuple[list[Nucleus], list[Version], int]]:
        """Of each row of blocks what is closed, what is open and where the tiles below begin."""
        edges = inner_edges((tile.y, tile.x) for tile in self.tiles.values())
        for top in range(0, len(self.ys), self.side):
            closed: list[Nucleus] = []
            open_: list[Version] = []
            lefts = list(range(0, len(self.xs), self.side))
            order.shuffle(lefts)
            for left in lefts:
                tiles = [
                    tile
                    for (i, j), tile in self.tiles.items()
                    if (i // self.side, j // self.side) == (top // self.side, left // self.side)
                ]
                order.shuffle(tiles)
                found = [v for tile in tiles for v in versions(tile, edges[tile.y, tile.x])]
                (y0, y1), (x0, x1) = self._own(self.ys, top), self._own(self.xs, left)
                final, rest = split(found, Box(y0, x0, y1, x1))
                closed += final
                open_ += from_table(to_table(rest))
            below = self.ys[top + self.side] if top + self.side < len(self.ys) else self.shape[0]
            yield closed, open_, below

    def _own(self, starts: Sequence[int], first: int) -> tuple[int, int]:
        """Pixels along an axis that no tile of a block before or after covers."""
        after = first + self.side
        begin = starts[first - 1] + _TILE if first else 0
        return begin, starts[after] if after < len(starts) else starts[-1] + _TILE


def _by_parts(slide: _Slide, order: random.Random) -> list[Nucleus]:
    rows = list(slide.rows(order))
    closed = [nucleus for final, _, _ in rows for nucleus in final]
    seams = join_seams((open_, below) for _, open_, below in rows)
    return sorted([*closed, *seams], key=lambda nucleus: nucleus.place)


def _same(first: Nucleus, second: Nucleus) -> bool:
    return (
        (first.y, first.x, first.nucleus_class, first.class_prob)
        == (second.y, second.x, second.nucleus_class, second.class_prob)
    ) and np.array_equal(first.mask, second.mask)


@pytest.mark.parametrize(("side", "missing"), [(1, 0.0), (2, 0.0), (2, 0.3), (3, 0.1)])
@given(seed=_SEEDS)
@_FEW
def test_blocks_and_seams_give_what_the_whole_image_gives(
    side: int, missing: float, seed: int
) -> None:
    slide = _Slide(seed, side, missing)
    whole = stitch(slide.tiles.values(), *slide.shape).nuclei

    parts = _by_parts(slide, random.Random(seed))

    assert len(parts) == len(whole)
    assert all(map(_same, parts, whole))


def test_tiles_between_give_blocks_what_they_give_the_whole_image() -> None:
    height, width = 480, 4100  # two blocks
    truth = np.zeros((height, width), np.int32)
    rng = np.random.default_rng(2)
    for number in range(1, 121):  # many at the tiles' edges, some where the blocks meet
        at = int(rng.choice([*starts(width)[1:], *3 * [SIDE * STEP]]))
        centre = at + int(rng.integers(-20, 60)), int(rng.integers(height))
        axes = int(rng.integers(10, 45)), int(rng.integers(8, 30))
        cv2.ellipse(truth, centre, axes, float(rng.uniform(0, 180)), 0, 360, number, -1)

    def said(y: int, x: int) -> TileNuclei:
        seen = truth[y : y + _TILE, x : x + _TILE]
        missed = np.random.default_rng((y, x)).random(truth.max() + 1) < 0.4
        found = _exact((seen > 0) & ~missed[seen])
        return TileNuclei(y, x, found.instance_map, found.nuclei)

    plan = make_plan(height, width, None)
    tiles = [said(*tile.corner) for block in plan.blocks for tile in block.tiles]
    corners = still_wanted(tiles, height, width)
    between = [said(*corner) for corner in corners]
    whole = stitch(tiles, height, width, between).nuclei

    closed: list[Nucleus] = []
    left_open: list[Version] = []
    asked = []
    for block in plan.blocks:
        found = [v for t in block.tiles for v in versions(said(*t.corner), t.inner)]
        asked.append(wanted(found, block.inner))
        more = [said(*corner) for corner in asked[-1]]
        final, rest = split(replace(found, block.inner, more, height, width), block.own)
        closed += final
        left_open += from_table(to_table(rest))
    seams = join_seams([(left_open, height)])
    parts = sorted([*closed, *seams], key=lambda nucleus: nucleus.place)

    assert sorted(asked[0] + asked[1]) == corners
    assert any(x == SIDE * STEP - STEP // 2 for _, x in corners)  # where the blocks meet
    assert len(parts) == len(whole) > len(corners) > 10
    assert all(map(_same, parts, whole))


@given(seed=_SEEDS)
@_FEW
def test_every_nucleus_is_one_piece_with_a_valid_outline(seed: int) -> None:
    for nucleus in _by_parts(_Slide(seed), random.Random(seed)):
        assert ndimage.label(nucleus.mask)[1] == 1
        assert np.array_equal(ndimage.binary_fill_holes(nucleus.mask), nucleus.mask)
        assert nucleus.mask[[0, -1]].any(axis=1).all()
        assert nucleus.mask[:, [0, -1]].any(axis=0).all()
        polygon = shapely.Polygon(outline(nucleus.mask, nucleus.x, nucleus.y))
        assert polygon.is_valid
        assert polygon.area == np.count_nonzero(nucleus.mask)


def _exact(foreground: np.ndarray, y: int = 0, x: int = 0) -> TileNuclei:
    """What a perfect server says of the tile at y, x: each piece is a nucleus."""
    pieces, count = ndimage.label(foreground[y : y + _TILE, x : x + _TILE])
    boxes = [(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(pieces)]
    areas = np.bincount(pieces.ravel(), minlength=count + 1)[1:].tolist()
    rows = [(0, 0, *box, area, 1, 0.9, 0, 0) for box, area in zip(boxes, areas, strict=True)]
    nuclei = np.array(rows, np.float32).reshape(-1, 11)
    return TileNuclei(y, x, pieces.astype(np.uint16), nuclei)


@pytest.mark.parametrize(("y", "x"), [(100, 236), (100, 0), (0, 100), (236, 100), (236, 236)])
def test_a_nucleus_cut_where_no_tile_goes_on_is_kept(y: int, x: int) -> None:
    foreground = np.zeros((1000, 1000), bool)
    foreground[200 + y : 220 + y, 200 + x : 220 + x] = True

    alone = stitch([_exact(foreground, 200, 200)], 1000, 1000)

    assert alone.boxes.tolist() == [[200 + x, 200 + y, 220 + x, 220 + y]]


def test_a_stub_is_left_to_the_tile_that_goes_on() -> None:
    foreground = np.zeros((256, 1000), bool)
    foreground[100:120, _TILE - 10 : _TILE] = True
    stub, silent = _exact(foreground), _exact(np.zeros_like(foreground), 0, _TILE - OVERLAP)

    assert len(stitch([stub], 256, 1000).nuclei) == 1
    assert len(stitch([stub, silent], 256, 1000).nuclei) == 0


def test_what_no_later_tile_can_touch_is_given_at_once() -> None:
    def version(y: int) -> Version:
        return Version((y, 0), 1, y, 10, np.ones((20, 20), bool), 100, 1, 0.5)

    taken = []

    def rows() -> Iterator[tuple[list[Version], int]]:
        for y in (0, 1000, 2000):
            taken.append(y)
            yield [version(y + 100), version(y + 990)], y + 1000

    nuclei = join_seams(rows())

    assert next(nuclei).y == 100
    assert taken == [0]
    assert [nucleus.y for nucleus in nuclei] == [990, 1100, 1990, 2100, 2990]


def test_a_nucleus_inside_the_hole_of_a_united_one_stays() -> None:
    width = 2 * _TILE - OVERLAP
    foreground = np.zeros((256, width), bool)
    foreground[50:170, 70:-70] = True
    foreground[70:150, 90:-90] = False
    foreground[100:120, 210:230] = True
    tiles = [_exact(foreground, 0, x) for x in (0, width - _TILE)]

    stitched = stitch(tiles, 256, width)

    assert stitched.boxes.tolist() == [[70, 50, width - 70, 170], [210, 100, 230, 120]]
    assert all(nucleus.mask.all() for nucleus in stitched.nuclei)
    assert (stitched.instance_map[100:120, 210:230] == 2).all()


def test_versions_come_back_from_a_file_as_they_went_in(tmp_path: Path) -> None:
    slide = _Slide(3)
    edges = inner_edges((tile.y, tile.x) for tile in slide.tiles.values())
    found = [v for t in slide.tiles.values() for v in versions(t, edges[t.y, t.x])]
    pq.write_table(to_table(found), tmp_path / "open.parquet", compression="zstd")

    again = list(from_table(pq.read_table(tmp_path / "open.parquet")))

    assert len(again) == len(found) > 50
    for first, second in zip(found, again, strict=True):
        assert np.array_equal(first.mask, second.mask)
        assert first.rank == second.rank
        assert (first.nucleus_class, first.class_prob) == (second.nucleus_class, second.class_prob)
        assert type(second.class_prob) is float
    assert list(from_table(to_table([]))) == []
