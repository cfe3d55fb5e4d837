"""The neighbours of nuclei: the nearest one, and how many of each class are near."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

RADII: Final = (25, 50)
"""Micrometres within which neighbours are counted."""
_SIDE: Final = 1.0  # of the squares that are searched at a time, in radii
_PAIRS: Final = 1 << 20  # of nuclei whose distances are in memory


class Neighbourhood:
    """All nuclei of an image.

    Parameters
    ----------
    places
        Centroids, float64 [n, 2]; x, y in micrometres.
    classes
        Class ids, uint8 [n].
    names
        Number of class ids, the background's included.
    """

    def __init__(self, places: np.ndarray, classes: np.ndarray, names: int) -> None:
        self._x, self._y = np.ascontiguousarray(places.T)
        self._classes = classes
        self._names = names
        self._down = np.argsort(self._y, kind="stable")
        self._sorted = self._y[self._down]
        self._extent = float(np.ptp(places, axis=0).sum()) if len(places) else 0.0

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours of some nuclei, by their centroids.

        Parameters
        ----------
        rows
            Which nuclei, int64 [m].

        Returns
        -------
        nearest
            Distance to the nearest other nucleus, micrometres, float64 [m]; NaN if there is none.
        counts
            Number of others within each of `RADII`, int64 [radii, m, classes].
        """
        nearest = np.full(len(rows), np.nan)
        counts = np.zeros((len(RADII), len(rows), self._names), np.int64)
        reach = float(RADII[-1])
        for which, squared, classes in self._near(rows, np.arange(len(rows)), reach):
            kinds = np.eye(self._names, dtype=np.float32)[classes]
            for number, radius in enumerate(RADII):
                counts[number, which] = (squared <= radius**2).astype(np.float32) @ kinds
            nearest[which] = np.sqrt(squared.min(axis=1, initial=np.inf))
        while reach <= self._extent and (lonely := np.flatnonzero(nearest > reach)).size:
            reach *= 4
            for which, squared, _ in self._near(rows, lonely, reach):
                nearest[which] = np.sqrt(squared.min(axis=1, initial=np.inf))
        nearest[np.isinf(nearest)] = np.nan
        return nearest, counts

    def _near(
        self, rows: np.ndarray, chosen: np.ndarray, reach: float
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Some of the chosen, squared distances of all nuclei in reach of them, and their classes.

        Further ones may be among them; a nucleus is infinitely far from itself.
        """
        side = _SIDE * reach
        columns, lines = (np.floor(values[rows[chosen]] / side) for values in (self._x, self._y))
        for line in np.unique(lines).tolist():
            limits = np.searchsorted(self._sorted, [line * side - reach, (line + 1) * side + reach])
            strip = self._down[slice(*limits)]
            strip = strip[np.argsort(self._x[strip], kind="stable")]
            x, y = self._x[strip], self._y[strip]
            in_line = np.flatnonzero(lines == line)
            in_line = in_line[np.argsort(columns[in_line], kind="stable")]
            begins = np.flatnonzero(np.diff(columns[in_line], prepend=np.inf))
            for square in np.split(in_line, begins[1:]):
                left = columns[square[0]] * side
                around = slice(*np.searchsorted(x, [left - reach, left + side + reach]))
                pairs = len(square) * (around.stop - around.start)
                for some in np.array_split(chosen[square], 1 + pairs // _PAIRS):
                    own = rows[some]
                    squared = (self._x[own, None] - x[around]) ** 2
                    squared += (self._y[own, None] - y[around]) ** 2
                    squared[own[:, None] == strip[around]] = np.inf
                    yield some, squared, self._classes[strip[around]]
