"""A picture of a whole slide: where it was segmented, and how dense each class is."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from tsfd_client.contract import USE
from tsfd_client.release import Release

_SIDE: Final = 720  # pixels of a panel's longer side
_CELL: Final = 6  # pixels of a panel in which nuclei are counted together
_SMOOTH: Final = 1.5  # cells
_TITLE: Final = 30
_COLUMNS: Final = 3
_INK: Final = (40, 40, 40)
_OUTLINE: Final = (0, 150, 60)
_PALE: Final = 0.25  # of the slide is left behind the densities


class Overview:
    """Counts nuclei by class and place, and draws them.

    Parameters
    ----------
    thumbnail
        uint8 [h, w, 3], the whole slide.
    tissue
        bool [h, w], where it was segmented.
    width, height
        Of the slide's level 0, pixels.
    release
        Whose classes they are.
    """

    def __init__(
        self,
        thumbnail: np.ndarray,
        tissue: np.ndarray,
        width: int,
        height: int,
        release: Release,
    ) -> None:
        zoom = _SIDE / max(thumbnail.shape)
        size = tuple(max(_CELL, round(length * zoom)) for length in thumbnail.shape[1::-1])
        kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
        self._slide = cv2.resize(thumbnail, size, interpolation=kind)
        self._tissue = cv2.resize(tissue.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        self._width, self._height = width, height
        self._classes = release.classes
        rows, columns = (-(-length // _CELL) for length in self._slide.shape[:2])
        self._numbers = np.zeros((1 + len(self._classes), rows, columns), np.int64)

    def add(self, classes: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        """Count nuclei: class ids [n], and centroids in pixels of level 0, float64 [n]."""
        _, rows, columns = self._numbers.shape
        height, width = self._slide.shape[:2]
        row = np.clip(y / self._height * height / _CELL, 0, rows - 1).astype(np.int64)
        column = np.clip(x / self._width * width / _CELL, 0, columns - 1).astype(np.int64)
        np.add.at(self._numbers, (classes, row, column), 1)

    def counts(self) -> dict[str, int]:
        """Number of nuclei by class name, zeros included."""
        numbers = self._numbers[1:].sum(axis=(1, 2)).tolist()
        return {kind.name: n for kind, n in zip(self._classes, numbers, strict=True)}

    def draw(self, area: float) -> np.ndarray:
        """The picture; `area` is that of the tissue in mm². uint8 [H, W, 3]."""
        outlined = self._slide.copy()
        contours, _ = cv2.findContours(self._tissue, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(outlined, contours, -1, _OUTLINE, 2, cv2.LINE_AA)
        total = sum(self.counts().values())
        title = f"{total:,} nuclei in {area:,.2f} mm2; {USE}"
        panels = [_titled(outlined, title, _OUTLINE)]
        for index, kind in enumerate(self._classes, start=1):
            number = self.counts()[kind.name]
            title = f"{kind.name}: {number:,}, {number / area:,.0f} per mm2"
            panels.append(_titled(self._density(index, kind.colour), title, kind.colour))
        rows = [panels[first : first + _COLUMNS] for first in range(0, len(panels), _COLUMNS)]
        return np.vstack([np.hstack(row) for row in rows])

    def _density(self, index: int, colour: tuple[int, int, int]) -> np.ndarray:
        """A class over the paled slide: the more of its nuclei, the more of its colour."""
        height, width = self._slide.shape[:2]
        smooth = cv2.GaussianBlur(self._numbers[index].astype(np.float32), (0, 0), _SMOOTH)
        most = float(smooth.max())
        share = cv2.resize(smooth / (most or 1.0), None, fx=_CELL, fy=_CELL)[:height, :width, None]
        grey = self._slide.mean(axis=2, keepdims=True)
        paper = 255 - _PALE * (255 - grey)
        # The root shows what is sparse beside what is dense.
        ink = np.sqrt(share)
        drawn: np.ndarray = paper * (1 - ink) + np.array(colour) * ink
        return drawn.astype(np.uint8)


def _titled(picture: np.ndarray, title: str, colour: tuple[int, int, int]) -> np.ndarray:
    """A picture under its title, with a margin on the right."""
    height, width = picture.shape[:2]
    panel = np.full((_TITLE + height + 12, max(width, _SIDE // 2) + 12, 3), 255, np.uint8)
    panel[_TITLE : _TITLE + height, :width] = picture
    cv2.rectangle(panel, (2, 8), (16, 22), colour, -1)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(panel, title, (24, 21), font, 0.5, _INK, 1, cv2.LINE_AA)
    return panel
