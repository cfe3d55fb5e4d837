"""Rectangles of pixels."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np


class Box(NamedTuple):
    """A rectangle of pixels, half-open: the first row and column, and those after the last."""

    top: int
    left: int
    bottom: int
    right: int

    def moved(self, down: int, right: int) -> Self:
        """The same rectangle elsewhere."""
        top, left, bottom, end = self
        return self.__class__(top + down, left + right, bottom + down, end + right)

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def intersection(self, other: Box) -> Box:
        """The part that both share; if there is none, it ends before it begins."""
        return Box(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def holds(self, other: Box) -> bool:
        """Whether the other lies in this one."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and self.bottom >= other.bottom
            and self.right >= other.right
        )

    def crop(self, pixels: np.ndarray) -> np.ndarray:
        """That part of an array [H, W, ...], as a view."""
        return pixels[self.top : self.bottom, self.left : self.right]
