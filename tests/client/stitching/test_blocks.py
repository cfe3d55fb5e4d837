"""Which tiles a slide is cut into, and which pixels each block has to itself."""

from __future__ import annotations

import numpy as np
import pytest

from tsfd_client.stitching.blocks import make_plan
from tsfd_client.stitching.grid import SIDE, starts

SHAPES = [(100, 90), (256, 300), (3500, 7000), (6790, 3201)]


@pytest.mark.parametrize("shape", SHAPES)
def test_without_a_mask_the_tiles_are_those_of_an_image(shape: tuple[int, int]) -> None:
    plan = make_plan(*shape, None)
    tiles = [(tile.y, tile.x) for block in plan.blocks for tile in block.tiles]
    assert len(plan) == len(tiles)
    assert sorted(tiles) == [(y, x) for y in starts(shape[0]) for x in starts(shape[1])]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_tile_of_another_block_covers_what_a_block_has_to_itself(
    shape: tuple[int, int],
) -> None:
    tissue = np.random.default_rng(shape[0]).random((shape[0] // 40 + 1, shape[1] // 40 + 1)) < 0.05
    blocks = make_plan(*shape, tissue).blocks
    assert blocks
    for block in blocks:
        own = np.zeros(shape, bool)
        y0, x0, y1, x1 = block.own
        own[y0:y1, x0:x1] = True
        for other in blocks:
            for tile in other.tiles if other is not block else ():
                assert not own[tile.y : tile.y + 256, tile.x : tile.x + 256].any()


def test_tiles_are_where_the_tissue_is() -> None:
    tissue = np.zeros((100, 200), bool)
    tissue[40, 150] = True  # pixels 1600 to 1640 down, 6000 to 6040 across
    plan = make_plan(4000, 8000, tissue)
    tiles = [tile for block in plan.blocks for tile in block.tiles]
    assert tiles
    for tile in tiles:
        assert tile.y < 1640
        assert tile.y + 256 > 1600
        assert tile.x < 6040
        assert tile.x + 256 > 6000


def test_rows_come_from_top_to_bottom_with_what_is_below() -> None:
    plan = make_plan(8000, 3000, None)
    ys = starts(8000)
    rows = list(plan.rows())
    assert [below for _, below in rows] == [ys[SIDE], ys[2 * SIDE], 8000]
    assert [block.row for blocks, _ in rows for block in blocks] == [0, 1, 2]
