"""Tiles of one field, found by their borders."""

from __future__ import annotations

import cv2
import numpy as np

from samples import histology
from training.data.borders import Borders


def test_tiles_are_found_to_the_right_and_below() -> None:
    field = cv2.imread(str(histology.path()))[:300]
    borders = Borders()
    for name, tile in {
        "a": field[:150, :140],
        "b": field[:150, 140:280],
        "c": field[150:, :140],
        "d": field[150:, 140:280],
        "elsewhere": field[:150, 300:440],
        "turned": field[149::-1, 439:299:-1],
    }.items():
        borders.add(tile, name)

    assert sorted(borders.pairs()) == [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]


def test_borders_on_glass_are_of_no_field() -> None:
    borders = Borders()
    for name in "ab":
        borders.add(np.full((64, 64, 3), 243, np.uint8), name)

    assert list(borders.pairs()) == []
