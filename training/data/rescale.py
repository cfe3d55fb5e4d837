"""Annotated images at another scale."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from training.data.annotated import Annotated, Dataset, Entry
from tsfd_client.pixels.resample import Grid, resample


def rescaled(data: Dataset, mpp: float) -> Dataset:
    """The images of a data set at `mpp`, resampled each time they are asked for.

    Parameters
    ----------
    data
        At the scale of its scans, as PanNuke is.
    mpp
        Scale that is wanted, micrometres per pixel.
    """

    def at_scale(entry: Entry) -> Entry:
        grid = Grid(*entry.shape, entry.mpp, mpp)
        if grid.step == 1:
            return entry
        return replace(entry, shape=grid.shape, load=partial(_load, entry, grid))

    return Dataset(map(at_scale, data.entries))


def _load(entry: Entry, grid: Grid) -> Annotated:
    annotated = entry.load()
    channels, ignore = annotated.channels, annotated.ignore
    return replace(
        annotated,
        image=resample(annotated.image, grid.mpp, grid.target),
        instances=nearest(annotated.instances, grid),
        channels=None if channels is None else nearest(channels, grid),
        ignore=None if ignore is None else nearest(ignore, grid),
        mpp=grid.target,
    )


def nearest(pixels: np.ndarray, grid: Grid) -> np.ndarray:
    """Resample to the grid, taking the source pixel that contains each pixel's centre.

    `cv2.resize` would derive the scale from rounded sizes, and its INTER_NEAREST takes corners for
    centres.

    Parameters
    ----------
    pixels
        [H, W] or [H, W, C], as the grid's source.
    """
    if grid.step == 1:
        return pixels
    rows, columns = (
        np.clip(_containing(length, grid.step), 0, end - 1)
        for length, end in zip(grid.shape, pixels.shape[:2], strict=True)
    )
    return pixels[rows[:, None], columns]


def _containing(length: int, step: float) -> np.ndarray:
    """Index of the source pixel that contains each target pixel's centre, int [length]."""
    target = np.arange(length)
    centre = (target + 0.5) * step
    # Between two pixels, as where an image is halved, each is taken in turn: always the same one
    # would shift the masks against the image by a quarter of a pixel.
    former = (centre % 1 == 0) & (target % 2 == 1)
    return (centre - former).astype(np.intp)
