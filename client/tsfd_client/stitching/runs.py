"""Masks as runs: stretches of pixels within a row. All masks of a tile or a block at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Runs:
    """The runs of n masks, mask by mask, row by row, from left to right.

    Attributes
    ----------
    sizes
        int64 [n, 2]; height and width of each mask.
    mask, row
        int64 [r]; index of the run's mask, and its row within the mask.
    begin, end
        int64 [r]; its first column within the mask, and the one after its last.
    """

    sizes: np.ndarray
    mask: np.ndarray
    row: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    def plain(self) -> np.ndarray:
        """Which masks have one run in every row, each touching the one above; bool [n].

        Such a mask is one 4-connected piece without holes. Most nuclei are.
        """
        heights, widths = self.sizes.T
        count = np.bincount(self.mask, minlength=len(heights))
        follows = self.mask[1:] == self.mask[:-1]
        touches = (self.begin[1:] < self.end[:-1]) & (self.begin[:-1] < self.end[1:])
        broken = follows & ((self.row[1:] != self.row[:-1] + 1) | ~touches)
        plain: np.ndarray = count == heights
        plain[self.mask[1:][broken]] = False
        return plain


def runs_of(masks: Sequence[np.ndarray]) -> Runs:
    """Find the runs of masks, each bool [h, w] of any size but 0."""
    sizes = np.array([mask.shape for mask in masks], np.int64).reshape(-1, 2)
    pixels = np.concatenate([np.empty(0, bool), *(mask.ravel() for mask in masks)])
    heights, widths = sizes.T
    # The rows of all masks, one after the other.
    row_widths = widths.repeat(heights)
    row_ends = row_widths.cumsum()
    row_starts = row_ends - row_widths
    begins, ends = pixels.copy(), pixels.copy()
    begins[1:] &= ~pixels[:-1]
    begins[row_starts] = pixels[row_starts]
    ends[:-1] &= ~pixels[1:]
    ends[row_ends - 1] = pixels[row_ends - 1]
    begin, end = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    place = np.searchsorted(row_ends, begin, side="right")
    mask = np.arange(len(masks)).repeat(heights)[place]
    first_rows = heights.cumsum() - heights
    return Runs(
        sizes, mask, place - first_rows[mask], begin - row_starts[place], end - row_starts[place]
    )
