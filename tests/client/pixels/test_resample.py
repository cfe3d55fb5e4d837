"""One grid for the whole image: parts are the same as the whole, bit for bit."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from samples.synthetic import generate
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.resample import Grid, resample


@pytest.mark.parametrize("mpp", [0.1, 0.2, 0.249, 0.3, 0.499, 1.0])
def test_parts_equal_the_whole(mpp: float) -> None:
    image = generate(700, 900, nuclei=80, seed=1).image
    whole = resample(image, mpp, 0.25)
    grid = Grid(*image.shape[:2], mpp, 0.25)
    assert whole.shape[:2] == grid.shape
    rng = np.random.default_rng(2)
    for _ in range(20):
        height, width = grid.shape
        y0, x0 = int(rng.integers(height)), int(rng.integers(width))
        y1, x1 = (
            int(rng.integers(start + 1, min(end, start + 300) + 1))
            for start, end in ((y0, height), (x0, width))
        )
        box = Box(y0, x0, y1, x1)
        top, left, bottom, right = grid.source(box)
        part = grid.resample(image[top:bottom, left:right].copy(), box)
        np.testing.assert_array_equal(part, whole[y0:y1, x0:x1])


@pytest.mark.parametrize("mpp", [0.2, 0.3, 0.499])
def test_nothing_moves_and_little_is_lost(mpp: float) -> None:
    image = cv2.GaussianBlur(generate(400, 500, nuclei=60, seed=3).image, (0, 0), 2)
    height, width = Grid(*image.shape[:2], mpp, 0.25).shape
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)

    difference = resample(image, mpp, 0.25).astype(int) - expected

    assert abs(difference.mean()) < 0.1
    assert np.abs(difference).mean() < 1.5
