"""Stitching against known instance maps: cut into tiles, joined, the map comes back."""

from __future__ import annotations

import random

import numpy as np
import pytest

from samples.synthetic import generate
from tests.client.stitching.at_once import stitch
from tsfd_client.stitching.tiling import tiling
from tsfd_client.stitching.versions import TileNuclei


def _tiles(truth: np.ndarray, classes: np.ndarray) -> list[TileNuclei]:
    """What a perfect server returns for each tile of an image with this instance map."""
    height, width = truth.shape
    blank = np.zeros((height, width, 3), np.uint8)
    tiles = []
    for tile in tiling(blank, 0.25, 0.25):
        part = np.zeros((256, 256), truth.dtype)
        piece = truth[tile.y : tile.y + 256, tile.x : tile.x + 256]
        part[: piece.shape[0], : piece.shape[1]] = piece
        ids = [i for i in np.unique(part) if i]
        instance_map = np.zeros((256, 256), np.uint16)
        nuclei = np.zeros((len(ids), 11), np.float32)
        for row, number in enumerate(ids):
            ys, xs = np.nonzero(part == number)
            instance_map[ys, xs] = row + 1
            box = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
            nuclei[row, 2:9] = *box, len(ys), classes[number - 1], 0.9
        tiles.append(TileNuclei(tile.y, tile.x, instance_map, nuclei))
    return tiles


def _same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize("shape", [(100, 700), (256, 256), (300, 257), (640, 530), (1000, 450)])
def test_nuclei_on_tile_borders_come_out_once_and_whole(shape: tuple[int, int]) -> None:
    field = generate(*shape, nuclei=shape[0] * shape[1] // 3000, seed=shape[0])
    tiles = _tiles(field.instance_map, field.classes)

    stitched = stitch(tiles, *shape)

    assert _same_partition(stitched.instance_map, field.instance_map)
    for number in range(1, len(stitched.classes) + 1):
        (truth,) = np.unique(field.instance_map[stitched.instance_map == number])
        assert stitched.classes[number - 1] == field.classes[truth - 1]


def test_order_of_tiles_does_not_matter() -> None:
    field = generate(640, 530, nuclei=100, seed=9)
    tiles = _tiles(field.instance_map, field.classes)
    first = stitch(tiles, 640, 530)

    for seed in range(3):
        random.Random(seed).shuffle(tiles)
        again = stitch(tiles, 640, 530)
        assert np.array_equal(again.instance_map, first.instance_map)
        assert np.array_equal(again.boxes, first.boxes)


def test_a_nucleus_too_large_for_any_tile_is_united() -> None:
    truth = np.zeros((300, 900), np.uint16)
    truth[100:180, 50:850] = 1

    stitched = stitch(_tiles(truth, np.array([3])), 300, 900)

    assert np.array_equal(stitched.instance_map, truth)
    assert stitched.boxes.tolist() == [[50, 100, 850, 180]]
    assert stitched.classes.tolist() == [3]


def test_versions_that_disagree_a_little_are_one_nucleus() -> None:
    truth = np.zeros((256, 448), np.uint16)
    truth[100:120, 210:235] = 1  # in the 64 columns that both tiles see
    left, right = _tiles(truth, np.array([1]))
    right.instance_map[:] = np.roll(right.instance_map, (2, 3), axis=(0, 1))
    right.nuclei[:, 2:6] += (3, 2, 3, 2)

    assert len(stitch([left, right], 256, 448).classes) == 1


def test_holes_are_filled_and_crumbs_go() -> None:
    instance_map = np.zeros((256, 256), np.uint16)
    instance_map[100:120, 100:130] = 1
    instance_map[105:110, 105:110] = 0
    instance_map[120, 130] = 1  # touches at a corner only
    row = (0, 0, 100, 100, 131, 121, 576, 1, 0.9, 0, 0)

    stitched = stitch([TileNuclei(0, 0, instance_map, np.array([row], np.float32))], 256, 256)

    assert stitched.boxes.tolist() == [[100, 100, 130, 120]]
    assert (stitched.instance_map[100:120, 100:130] == 1).all()
    assert np.count_nonzero(stitched.instance_map) == 600


def test_no_nuclei() -> None:
    stitched = stitch(_tiles(np.zeros((300, 300), np.uint16), np.zeros(0)), 300, 300)

    assert not stitched.instance_map.any()
    assert stitched.boxes.shape == (0, 4)
