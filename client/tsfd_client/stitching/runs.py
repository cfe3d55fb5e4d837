"""Masks as runs: stretches of pixels within a row. All masks of a tile or a block at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

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
        count = np.bincount(self.mask, minlength=len(self.sizes))
        follows = self.mask[1:] == self.mask[:-1]
        touches = (self.begin[1:] < self.end[:-1]) & (self.begin[:-1] < self.end[1:])
        broken = follows & ((self.row[1:] != self.row[:-1] + 1) | ~touches)
        plain: np.ndarray = (count > 0) & (count == self.sizes[:, 0])
        plain[self.mask[1:][broken]] = False
        return plain

    def wide(self) -> np.ndarray:
        """Which masks reach both sides of their box; bool [n]."""
        at_left = self.mask[self.begin == 0]
        at_right = self.mask[self.end == self.sizes[self.mask, 1]]
        left, right = (np.bincount(m, minlength=len(self.sizes)) for m in (at_left, at_right))
        both: np.ndarray = (left > 0) & (right > 0)
        return both


def runs_of(masks: Sequence[np.ndarray]) -> Runs:
    """Find the runs of masks, each bool [h, w]."""
    sizes = np.fromiter(chain.from_iterable(mask.shape for mask in masks), np.int64).reshape(-1, 2)
    rows = b"".join([np.ascontiguousarray(mask) for mask in masks])  # type: ignore[misc]
    pixels = np.frombuffer(rows, np.bool_)
    # The rows of all masks that have pixels, one after the other.
    heights = np.where(sizes[:, 1], sizes[:, 0], 0)
    row_widths = sizes[:, 1].repeat(heights)
    row_ends = row_widths.cumsum()
    row_starts = row_ends - row_widths
    # A run begins at a pixel that none precedes, and ends at one that none follows, in its row.
    begins, ends = pixels.copy(), pixels.copy()
    np.greater(pixels[1:], pixels[:-1], out=begins[1:])
    np.greater(pixels[:-1], pixels[1:], out=ends[:-1])
    begins[row_starts] = pixels[row_starts]
    ends[row_ends - 1] = pixels[row_ends - 1]
    begin, end = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    # From places among all rows to those within each mask.
    place = np.arange(len(row_widths), dtype=np.int32).repeat(row_widths)[begin]
    mask = np.arange(len(masks)).repeat(heights)[place]
    row = place - (heights.cumsum() - heights)[mask]
    return Runs(sizes, mask, row, begin - row_starts[place], end - row_starts[place])
