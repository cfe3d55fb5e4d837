"""Overview of a whole slide: the segmented area and the density of each class.

Densities are in nuclei per mm² of tissue, with the same colour scale for all classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from tsfd_client.contract import USE
from tsfd_client.pixels.artifacts import COLOURS, Artifact
from tsfd_client.release import Release

_SIDE: Final = 720  # pixels of a panel's longer side
_CELL: Final = 6  # panel pixels along the side of a counting cell
_SMOOTH: Final = 1.5  # cells: smallest sigma of the smoothing
_SMOOTH_MM: Final = 0.03
_SPARSE: Final = 1000  # nuclei per mm²: the colour scale always reaches at least this far
_TITLE: Final = 30
_LEGEND: Final = 38
_RAMP: Final = 160  # pixels: length of the colour ramp in a legend
_COLUMNS: Final = 3
_INK: Final = (40, 40, 40)
_OUTLINE: Final = (0, 150, 60)
_LEAST: Final = 0.01  # mm2: less is 0.00 otherwise
_PALE: Final = 0.25  # contrast of the slide behind the densities


class Overview:
    """Counts nuclei by class and cell, and draws their densities.

    Parameters
    ----------
    thumbnail
        uint8 [h, w, 3], the whole slide.
    tissue
        bool [h, w], where it was segmented.
    artifacts
        What does not belong to the tissue.
    width, height
        Size of level 0, pixels.
    release
        Defines the classes.
    """

    def __init__(
        self,
        thumbnail: np.ndarray,
        tissue: np.ndarray,
        artifacts: Sequence[Artifact],
        width: int,
        height: int,
        release: Release,
    ) -> None:
        zoom = _SIDE / max(thumbnail.shape)
        size = tuple(max(_CELL, round(length * zoom)) for length in thumbnail.shape[1::-1])
        kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
        self._slide = cv2.resize(thumbnail, size, interpolation=kind)
        self._tissue = _resized(tissue, self._slide)
        self._artifacts = artifacts
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

    def draw(self, area: float, whole: float) -> np.ndarray:
        """Draw the overview, uint8 [H, W, 3]; areas of the tissue and of the slide are in mm²."""
        densities, most = self._densities(area)
        panels = [self._draw_slide(area, whole)]
        paper = self._paper()
        for index, kind in enumerate(self._classes, start=1):
            number = self.counts()[kind.name]
            title = f"{kind.name}: {number:,}, {number / area:,.0f} per mm2 of tissue"
            density = cv2.resize(densities[index], None, fx=_CELL, fy=_CELL)
            share = density[: len(paper), : paper.shape[1]] / most * self._tissue
            panel = _titled(_tinted(paper, share, kind.colour), title, kind.colour)
            _draw_legend(panel, most, kind.colour)
            panels.append(panel)
        # Fill up the last row with white panels.
        panels += [np.full_like(panels[0], 255)] * (-len(panels) % _COLUMNS)
        rows = [panels[first : first + _COLUMNS] for first in range(0, len(panels), _COLUMNS)]
        return np.vstack([np.hstack(row) for row in rows])

    def _draw_slide(self, area: float, whole: float) -> np.ndarray:
        """The slide with tissue and artifacts outlined, in a panel; what was left out is pale."""
        outlined = self._slide.copy()
        _outline(outlined, self._tissue, _OUTLINE)
        total = sum(self.counts().values())
        title = f"{total:,} nuclei in {area:,.2f} mm2; {USE}"
        found = [artifact for artifact in self._artifacts if artifact.mask.any()]
        for artifact in found:
            mask = _resized(artifact.mask, outlined)
            if artifact.is_left_out:
                outlined[mask > 0] = 255 - (255 - outlined[mask > 0]) // 2
            _outline(outlined, mask, COLOURS[artifact.kind])
        panel = _titled(outlined, title, _OUTLINE)
        for row, artifact in enumerate(found):
            done = "left out" if artifact.is_left_out else "segmented"
            mm2 = artifact.mm2(whole)
            size = f"{mm2:,.2f}" if mm2 >= _LEAST else f"under {_LEAST}"
            text = f"{artifact.kind}: {size} mm2, {done}"
            _write_key(panel, text, COLOURS[artifact.kind], len(panel) - _LEGEND + 18 * row)
        return panel

    def _densities(self, area: float) -> tuple[np.ndarray, int]:
        """Nuclei per mm² of tissue, and the top of the colour scale.

        The densities are by class and cell, float32 [n + 1, rows, columns].
        """
        _, rows, columns = self._numbers.shape
        padded: np.ndarray = np.zeros((rows * _CELL, columns * _CELL), np.float32)
        padded[: len(self._tissue), : self._tissue.shape[1]] = self._tissue
        # Tissue fraction of each cell, so that their areas add up to that of the tissue.
        shares = cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA)
        cell = area / max(float(shares.sum()), 1e-6)
        sigma = max(_SMOOTH, _SMOOTH_MM / np.sqrt(cell))
        # Smooth counts and areas alike, so that tissue next to glass does not look sparser.
        areas = np.maximum(cv2.GaussianBlur(shares * cell, (0, 0), sigma), 1e-6)
        numbers = self._numbers.astype(np.float32)
        densities = np.stack([cv2.GaussianBlur(each, (0, 0), sigma) / areas for each in numbers])
        # Ignore cells with little tissue, where one nucleus would give a huge density.
        most = densities[:, shares >= shares.max() / 2].max()
        return densities, _round_up(max(_SPARSE, float(most)))

    def _paper(self) -> np.ndarray:
        """The slide in pale grey, float64 [h, w]."""
        red, green, blue = cv2.split(self._slide)
        paper: np.ndarray = 255 - _PALE * (255 - (red.astype(float) + green + blue) / 3)
        return paper


def _tinted(paper: np.ndarray, share: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Tint a grey picture, [h, w], by `share`, [h, w] in 0..1: the larger, the more colour."""
    # The square root keeps sparse areas visible next to dense ones.
    ink = np.sqrt(np.minimum(1, share))
    pale = paper * (1 - ink)
    tones = np.array(colour, float)
    return np.stack([(pale + tone * ink).astype(np.uint8) for tone in tones], axis=2)


def _round_up(number: float) -> int:
    """Round up to the next of 1, 2, 5, 10, 20, 50, ..."""
    power: int = 10 ** int(math.log10(number))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= number)


def _titled(picture: np.ndarray, title: str, colour: tuple[int, int, int]) -> np.ndarray:
    """Put a picture under a title, with a margin on the right."""
    height, width = picture.shape[:2]
    panel = np.full((_TITLE + height + _LEGEND, max(width, _SIDE // 2) + 12, 3), 255, np.uint8)
    panel[_TITLE : _TITLE + height, :width] = picture
    _write_key(panel, title, colour, 6)
    return panel


def _resized(mask: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """A mask bool [h, w] in the size of a picture, uint8."""
    size = picture.shape[1::-1]
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)


def _outline(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, contours, -1, colour, 2, cv2.LINE_AA)


def _write_key(panel: np.ndarray, text: str, colour: tuple[int, int, int], top: int) -> None:
    """Write a text behind a square of the colour that it explains."""
    cv2.rectangle(panel, (2, top + 2), (16, top + 16), colour, -1)
    _write(panel, text, 24, top + 15)


def _draw_legend(panel: np.ndarray, most: int, colour: tuple[int, int, int]) -> None:
    """Draw the colour scale below a panel's picture."""
    top = len(panel) - _LEGEND + 6
    paper: np.ndarray = np.full((10, _RAMP), 255.0)
    ramp = np.broadcast_to(np.linspace(0, 1, _RAMP), paper.shape)
    panel[top : top + 10, 2 : 2 + _RAMP] = _tinted(paper, ramp, colour)
    for share in (0.0, 0.25, 1.0):
        at = 2 + round(share * (_RAMP - 1))
        panel[top : top + 14, at] = _INK
        unit = " per mm2 of tissue" if share == 1 else ""
        _write(panel, f"{share * most:,.0f}{unit}", at - 2, top + 27)


def _write(panel: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(panel, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
