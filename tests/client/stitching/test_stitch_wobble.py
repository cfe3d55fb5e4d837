"""Stitching what a network really says: tiles that disagree about the same nuclei.

A stand-in server answers from the truth, but ends its masks short of the tile's inner edges, moves
their borders, splits nuclei and merges touching ones, anew in every tile.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from samples.synthetic import generate
from tests.client.stitching.at_once import stitch
from tsfd_client.stitching.tiling import tiling
from tsfd_client.stitching.versions import TileNuclei

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_SEEDS = st.integers(0, 10_000)
_FEW = settings(max_examples=12, deadline=None, derandomize=True)


@dataclass
class _Server:
    """How it wobbles: probabilities per nucleus and tile; `splits` and `merges` count."""

    rng: np.random.Generator
    jitter: float = 0.0
    split: float = 0.0
    merge: float = 0.0
    splits: int = field(default=0, init=False)
    merges: int = field(default=0, init=False)

    def answer(self, truth: np.ndarray) -> list[TileNuclei]:
        """What it says about every tile of an image with this instance map."""
        height, width = truth.shape
        answers = []
        for tile in tiling(np.zeros((height, width, 3), np.uint8), 0.25, 0.25):
            part = np.zeros((256, 256), np.int32)
            seen = truth[tile.y : tile.y + 256, tile.x : tile.x + 256]
            part[: seen.shape[0], : seen.shape[1]] = seen
            visible = np.ones((256, 256), bool)
            short = self.rng.integers(0, 3, 4)
            visible[: short[0] * (tile.y > 0)] = False
            visible[:, : short[1] * (tile.x > 0)] = False
            visible[256 - short[2] * (tile.y + 256 < height) :] = False
            visible[:, 256 - short[3] * (tile.x + 256 < width) :] = False
            masks = [mask & visible for mask in self._masks(part)]
            answers.append(TileNuclei(tile.y, tile.x, *_as_served(masks)))
        return answers

    def _masks(self, part: np.ndarray) -> list[np.ndarray]:
        part = part.copy()
        masks = []
        for number in np.unique(part[part > 0]):
            if self.rng.random() < self.merge:
                around = cv2.dilate((part == number).astype(np.uint8), _CROSS) > 0
                touching = [i for i in np.unique(part[around]) if i not in (0, number)]
                if touching:
                    part[part == touching[0]] = number
                    self.merges += 1
        for number in np.unique(part[part > 0]):
            mask = (part == number).astype(np.uint8)
            if self.rng.random() < self.jitter:
                change = cv2.erode if self.rng.random() < 0.5 else cv2.dilate
                mask = change(mask, _CROSS, borderType=cv2.BORDER_REPLICATE)
            if self.rng.random() < self.split and mask.any():
                ys, xs = np.nonzero(mask)
                turn, middle = self.rng.uniform(0, np.pi), self.rng.integers(len(ys))
                side = (xs - xs[middle]) * np.cos(turn) + (ys - ys[middle]) * np.sin(turn) > 0
                half = np.zeros_like(mask)
                half[ys[side], xs[side]] = 1
                masks += [half > 0, (mask > 0) & (half == 0)]
                self.splits += 1
            else:
                masks.append(mask > 0)
        return masks


def _as_served(masks: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Instance map and table: 4-connected instances of at least 10 pixels, as the server's."""
    instance_map = np.zeros((256, 256), np.uint16)
    rows = []
    for mask in masks:
        free = (mask & (instance_map == 0)).astype(np.uint8)
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(free, connectivity=4)
        if len(stats) == 1:
            continue
        largest = 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
        x, y, width, height, area = stats[largest]
        if area < 10:
            continue
        instance_map[pieces == largest] = len(rows) + 1
        rows.append((0, 0, x, y, x + width, y + height, area, 1 + area % 5, 0.9, 0, 0))
    return instance_map, np.array(rows, np.float32).reshape(-1, 11)


@cache
def _truth(seed: int) -> np.ndarray:
    """Nuclei of all sizes, some of them far larger than the overlap of two tiles."""
    height, width = 500, 620
    truth = generate(height, width, nuclei=60, seed=seed).instance_map.astype(np.int32)
    rng = np.random.default_rng(seed)
    for _ in range(4):
        large = np.zeros((height, width), np.uint8)
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(40, 90)), int(rng.integers(20, 40)))
        cv2.ellipse(large, centre, axes, rng.uniform(0, 180), 0, 360, 1, -1)
        # What it would touch goes, so that every nucleus stays in one piece.
        touched = np.unique(truth[cv2.dilate(large, _CROSS) > 0])
        truth[np.isin(truth, touched)] = 0
        truth[large > 0] = truth.max() + 1
    _, numbers = np.unique(truth, return_inverse=True)
    return numbers.reshape(truth.shape).astype(np.int32)


def _partners(truth: np.ndarray, found: np.ndarray) -> set[tuple[int, int]]:
    """Pairs (true, found) of which either has more than half of its pixels in the other."""
    both = (truth > 0) & (found > 0)
    pairs, shared = np.unique(np.stack([truth[both], found[both]]), axis=1, return_counts=True)
    true_areas, found_areas = np.bincount(truth.ravel()), np.bincount(found.ravel())
    return {
        (int(i), int(j))
        for (i, j), pixels in zip(pairs.T, shared, strict=True)
        if 2 * pixels > min(true_areas[i], found_areas[j])
    }


@given(seed=_SEEDS)
@_FEW
def test_masks_that_end_short_of_the_tile_are_put_together_exactly(seed: int) -> None:
    truth = _truth(seed % 6)

    stitched = stitch(_Server(np.random.default_rng(seed)).answer(truth), *truth.shape)

    assert np.array_equal(stitched.instance_map > 0, truth > 0)
    pairs = np.unique(np.stack([truth.ravel(), stitched.instance_map.ravel()]), axis=1)
    assert pairs.shape[1] == truth.max() + 1 == len(stitched.classes) + 1


@given(seed=_SEEDS)
@_FEW
def test_nuclei_whose_borders_move_come_out_once(seed: int) -> None:
    truth = _truth(seed % 6)

    server = _Server(np.random.default_rng(seed), jitter=1.0)
    stitched = stitch(server.answer(truth), *truth.shape)

    assert len(stitched.classes) == truth.max()
    partners = _partners(truth, stitched.instance_map)
    assert sorted(i for i, _ in partners) == list(range(1, truth.max() + 1))
    assert sorted(j for _, j in partners) == list(range(1, truth.max() + 1))


@given(seed=_SEEDS)
@_FEW
def test_splits_and_merges_cost_no_more_than_themselves(seed: int) -> None:
    truth = _truth(seed % 6)
    server = _Server(np.random.default_rng(seed), jitter=0.7, split=0.1, merge=0.1)
    tiles = server.answer(truth)

    stitched = stitch(tiles, *truth.shape)

    found = len(stitched.classes)
    assert truth.max() - server.merges <= found <= truth.max() + server.splits
    by_all, by_any = np.ones(truth.shape, bool), np.zeros(truth.shape, bool)
    for tile in tiles:
        window = np.s_[tile.y : tile.y + 256, tile.x : tile.x + 256]
        seen = tile.instance_map[: truth.shape[0] - tile.y, : truth.shape[1] - tile.x] > 0
        by_all[window] &= seen
        by_any[window] |= seen
    foreground = stitched.instance_map > 0
    assert np.count_nonzero(foreground & by_all) > 0.95 * np.count_nonzero(by_all)
    assert not (foreground & ~ndimage.binary_fill_holes(by_any)).any()


@given(seed=_SEEDS)
@_FEW
def test_every_nucleus_is_one_piece_without_holes(seed: int) -> None:
    truth = _truth(seed % 6)
    server = _Server(np.random.default_rng(seed), jitter=0.7, split=0.2, merge=0.2)

    stitched = stitch(server.answer(truth), *truth.shape)

    assert np.unique(stitched.instance_map).tolist() == list(range(len(stitched.boxes) + 1))
    areas = np.bincount(stitched.instance_map.ravel())
    for number, (x0, y0, x1, y1) in enumerate(stitched.boxes.tolist(), start=1):
        mask = stitched.instance_map[y0:y1, x0:x1] == number
        assert np.count_nonzero(mask) == areas[number]
        assert ndimage.label(mask)[1] == 1
        assert np.array_equal(ndimage.binary_fill_holes(mask), mask)
        assert mask[[0, -1]].any(axis=1).all()
        assert mask[:, [0, -1]].any(axis=0).all()


@given(seed=_SEEDS)
@_FEW
def test_tiles_that_disagree_may_come_in_any_order(seed: int) -> None:
    truth = _truth(seed % 6)
    server = _Server(np.random.default_rng(seed), jitter=0.7, split=0.2, merge=0.2)
    tiles = server.answer(truth)
    first = stitch(tiles, *truth.shape)

    random.Random(seed).shuffle(tiles)
    again = stitch(tiles, *truth.shape)

    assert np.array_equal(again.instance_map, first.instance_map)
    assert np.array_equal(again.boxes, first.boxes)
    assert np.array_equal(again.classes, first.classes)
    assert np.array_equal(again.class_probs, first.class_probs)
