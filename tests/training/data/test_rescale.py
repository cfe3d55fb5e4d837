"""Data sets at another scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.pannuke import PanNukeFold
from training.data.rescale import rescaled
from tsfd_client.pixels.resample import resample


def test_images_are_resampled_as_they_are_served_and_masks_follow(pannuke: Path) -> None:
    fold = PanNukeFold(pannuke / "Fold 1")
    half = rescaled(fold, 0.5)

    assert [entry.shape for entry in half.entries] == [(128, 128)] * 3
    assert [entry.name for entry in half.entries] == [entry.name for entry in fold.entries]
    large, small = fold[0], half[0]
    assert small.mpp == 0.5
    assert np.array_equal(small.image, resample(large.image, 0.25, 0.5))
    taken = np.arange(128) * 2 + (1, 0) * 64  # of two pixels, the second and the first in turn
    assert np.array_equal(small.instances, large.instances[taken][:, taken])
    assert np.array_equal(small.channels, large.channels[taken][:, taken])
    assert np.array_equal(small.allowed, large.allowed)


def test_halved_masks_lie_on_their_image(pannuke: Path) -> None:
    fold = PanNukeFold(pannuke / "Fold 1")
    half = rescaled(fold, 0.5)

    moved = [
        _centroid(small.instances == number) - _centroid(large.instances == number) / 2
        for large, small in zip(fold, half, strict=True)
        for number in np.unique(small.instances)[1:]
    ]

    assert len(moved) > 30
    assert np.abs(np.mean(moved, axis=0)).max() < 0.05


def _centroid(mask: np.ndarray) -> np.ndarray:
    """Row and column from the image's corner."""
    return np.argwhere(mask).mean(axis=0) + 0.5


def test_data_at_the_scale_that_is_wanted_stays_as_it_is(pannuke: Path) -> None:
    fold = PanNukeFold(pannuke / "Fold 1")
    assert rescaled(fold, 0.25).entries == fold.entries
