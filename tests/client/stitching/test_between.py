"""What tiles cut is asked for in tiles between them: which, and what becomes of the nuclei."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import ndimage

from tests.client.stitching.at_once import Stitched, still_wanted, stitch
from tsfd_client.stitching.tiling import tiling
from tsfd_client.stitching.versions import Corner, TileNuclei

HEIGHT, WIDTH = 480, 704  # two rows of three tiles


def _field(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Oblong nuclei of which top, left, bottom and right are given."""
    truth = np.zeros((HEIGHT, WIDTH), np.int32)
    for number, (top, left, bottom, right) in enumerate(boxes, start=1):
        truth[top:bottom, left:right] = number
    return truth


def _said(truth: np.ndarray, y: int, x: int) -> TileNuclei:
    """What a perfect server says of a tile."""
    part = truth[y : y + 256, x : x + 256]
    instance_map = np.zeros((256, 256), np.uint16)
    rows = []
    for number in np.unique(part[part > 0]):
        ((ys, xs),) = ndimage.find_objects((part == number).astype(np.uint8))
        instance_map[: part.shape[0], : part.shape[1]][part == number] = len(rows) + 1
        area = np.count_nonzero(part == number)
        rows.append((0, 0, xs.start, ys.start, xs.stop, ys.stop, area, 1, 0.9, 0, 0))
    return TileNuclei(y, x, instance_map, np.array(rows, np.float32).reshape(-1, 11))


def _tiles(truth: np.ndarray, speak: set[Corner] | None = None) -> list[TileNuclei]:
    """What the tiles of the grid say; those that do not speak see nothing."""
    corners = [(t.y, t.x) for t in tiling(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 0.25, 0.25)]
    blank = np.zeros_like(truth)
    return [_said(truth if speak is None or c in speak else blank, *c) for c in corners]


def _asked(tiles: list[TileNuclei], truth: np.ndarray) -> Stitched:
    between = [_said(truth, *corner) for corner in still_wanted(tiles, HEIGHT, WIDTH)]
    return stitch(tiles, HEIGHT, WIDTH, between)


@pytest.mark.parametrize(
    ("box", "speaks", "corner"),
    [
        ((100, 200, 140, 300), (0, 0), (0, 112)),
        ((100, 200, 140, 300), (0, 224), (0, 112)),
        ((200, 100, 280, 140), (0, 0), (112, 0)),
        ((200, 190, 280, 290), (224, 224), (112, 112)),
        ((200, 425, 280, 520), (224, 448), (112, 336)),
    ],
    ids=["to the right", "to the left", "below", "a corner", "another corner"],
)
def test_what_one_tile_cuts_and_its_neighbours_miss_is_made_whole(
    box: tuple[int, int, int, int], speaks: Corner, corner: Corner
) -> None:
    truth = _field(box)
    tiles = _tiles(truth, {speaks})
    assert stitch(tiles, HEIGHT, WIDTH).boxes.tolist() != [[box[1], box[0], box[3], box[2]]]

    assert still_wanted(tiles, HEIGHT, WIDTH) == [corner]
    assert np.array_equal(_asked(tiles, truth).instance_map, truth)


def test_what_its_tile_makes_up_at_an_edge_goes() -> None:
    truth = _field((100, 200, 140, 300), (300, 300, 320, 320))
    tiles = _tiles(truth, {(0, 0), (224, 224)})

    between = [_said(np.zeros_like(truth), 0, 112)]

    assert len(stitch(tiles, HEIGHT, WIDTH).nuclei) == 2
    assert stitch(tiles, HEIGHT, WIDTH, between).boxes.tolist() == [[300, 300, 320, 320]]


def test_nuclei_on_whose_parts_the_tiles_agree_cost_nothing() -> None:
    truth = _field((100, 200, 140, 300), (200, 440, 290, 490), (300, 20, 330, 60))

    tiles = _tiles(truth)

    assert still_wanted(tiles, HEIGHT, WIDTH) == []
    assert len(stitch(tiles, HEIGHT, WIDTH).nuclei) == 3


def test_what_is_too_large_for_any_tile_stays_united() -> None:
    truth = _field((100, 30, 160, 680))
    tiles = _tiles(truth, {(0, 0), (0, 224)})  # the third misses it

    assert still_wanted(tiles, HEIGHT, WIDTH) == []
    assert stitch(tiles, HEIGHT, WIDTH).boxes.tolist() == [[30, 100, 480, 160]]


def test_the_order_of_answers_does_not_matter() -> None:
    truth = _field((100, 200, 140, 300), (200, 400, 290, 510), (190, 20, 290, 60))
    tiles = _tiles(truth, {(0, 0), (224, 448)})
    first = _asked(tiles, truth)
    assert np.array_equal(first.instance_map > 0, truth > 0)

    for seed in range(3):
        random.Random(seed).shuffle(tiles)
        assert np.array_equal(_asked(tiles, truth).instance_map, first.instance_map)
