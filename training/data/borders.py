"""Images that are tiles of one field: where one ends, the next begins."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Of 625 patches of PanNuke, 487 pairs of borders are so alike, and none if one border is reversed.
_CORRELATION = 0.85
_COLOUR = 12  # grey levels between the mean colours
_FLAT = 3  # grey levels of standard deviation; borders on glass are all alike
_OPPOSITE = (("right", "left"), ("bottom", "top"))
_ROWS = 512  # correlations with all others at a time


class Borders:
    """Finds pairs of images that continue each other.

    A field that was cut into tiles must not be divided between training and scoring: its tiles
    share nuclei, stain and patient.
    """

    def __init__(self) -> None:
        self._edges: dict[tuple[str, int], list[tuple[str, np.ndarray]]] = {}

    def add(self, image: np.ndarray, name: str) -> None:
        """Remember the borders of an image, uint8 [H, W, 3]."""
        edges = {"right": image[:, -1], "left": image[:, 0], "bottom": image[-1], "top": image[0]}
        for side, edge in edges.items():
            if edge.std(axis=0).max() > _FLAT:
                self._edges.setdefault((side, len(edge)), []).append((name, edge.copy()))

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Names of images of which the second lies to the right of the first, or below it."""
        for end, begin in _OPPOSITE:
            for (side, length), ends in self._edges.items():
                if side == end:
                    yield from _continued(ends, self._edges.get((begin, length), []))


def _continued(
    ends: list[tuple[str, np.ndarray]], begins: list[tuple[str, np.ndarray]]
) -> Iterator[tuple[str, str]]:
    if not begins:
        return
    of_begins, colour_of_begins = _profiles(begins)
    for start in range(0, len(ends), _ROWS):
        block = ends[start : start + _ROWS]
        of_ends, colour_of_ends = _profiles(block)
        distance = np.abs(colour_of_ends[:, None] - colour_of_begins).max(axis=-1)
        alike = (of_ends @ of_begins.T > _CORRELATION) & (distance < _COLOUR)
        for i, j in zip(*np.nonzero(alike), strict=True):
            if block[i][0] != begins[j][0]:
                yield block[i][0], begins[j][0]


def _profiles(edges: list[tuple[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Borders as unit vectors without their mean colour, and these colours."""
    pixels = np.stack([edge for _, edge in edges]).astype(np.float32)
    colour = pixels.mean(axis=1)
    profile = (pixels - colour[:, None]).reshape(len(pixels), -1)
    return profile / np.linalg.norm(profile, axis=1, keepdims=True), colour
