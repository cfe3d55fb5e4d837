"""Slides and pictures, read in parts and at any scale.

with open_image(path) as slide:
    slide.height, slide.width     pixels of level 0
    slide.thumbnail(8.0)          the whole slide, small
    slide.at(0.25).read(box)      uint8 [h, w, 3] at so many micrometres per pixel
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Self

import cv2
import numpy as np

from tsfd_client.errors import ImageError
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.image import reason_of
from tsfd_client.pixels.in_memory import InMemory
from tsfd_client.pixels.levels import Levels
from tsfd_client.pixels.resample import Grid
from tsfd_client.remote.address import Address, Place

_SQUARE = 2048  # pixels of a level, read at a time for a thumbnail


class Slide:
    """An open slide, a context manager. May be read from several threads.

    Attributes
    ----------
    path
        The file, or its address on a store; for DICOM, any of its files or their folder.
    version
        Of its content on that store; None if it is on none, or the store does not tell.
    mpp
        Micrometres per pixel of level 0.
    height, width
        Of level 0, pixels; where the scanner says which part of the glass it scanned, of that part.
    is_picture
        Whether it is a plain picture rather than a file of a slide scanner.
    scale_is_assumed
        Whether neither the file nor the caller states its scale.
    remarks
        Warnings about the slide, in sentences.
    dicom_uids
        DICOM identifiers of level 0 by keyword; empty for other formats.
    """

    def __init__(
        self,
        path: Place,
        levels: Levels,
        mpp: float,
        *,
        is_picture: bool = False,
        scale_is_assumed: bool = False,
        remarks: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.version: str | None = None
        self.mpp = mpp
        self.is_picture = is_picture
        self.scale_is_assumed = scale_is_assumed
        self.remarks = list(remarks)
        self.dicom_uids = levels.dicom_uids
        self._levels = levels
        self._lease = ExitStack()
        self.height, self.width = levels.shapes[0]
        self._shrinks = [_shrink(levels.shapes[0], shape) for shape in levels.shapes]
        self._fingerprint = hashlib.sha256(f"{levels.shapes} {levels.digest}".encode()).hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._levels.close()
        self._lease.close()

    def comes_from(self, address: Address, version: str | None, lease: ExitStack) -> None:
        """Say where the file was fetched from, and what to close after it."""
        self.path, self.version, self._lease = address, version, lease

    @property
    def area_mm2(self) -> float:
        """Area of the whole slide."""
        return self.height * self.width * self.mpp**2 / 1e6

    def at(self, mpp: float) -> Scaled:
        """The slide at another scale, from the level whose own is nearest to it.

        Parameters
        ----------
        mpp
            Micrometres per pixel.
        """
        distances = [abs(math.log(self.mpp * shrink / mpp)) for shrink in self._shrinks]
        level = distances.index(min(distances))
        shrink = self._shrinks[level]
        grid = Grid(*self._levels.shapes[level], self.mpp * shrink, mpp)
        return Scaled(self, grid, grid.step * shrink, partial(self._read, level))

    def thumbnail(self, mpp: float) -> np.ndarray:
        """The whole slide, small.

        Parameters
        ----------
        mpp
            Micrometres per pixel; not finer than level 0.

        Returns
        -------
        uint8 [round(height * self.mpp / mpp), round(width * self.mpp / mpp), 3]

        Raises
        ------
        ImageError
            If the slide cannot be read.
        """
        level = self._level_for(mpp / self.mpp)
        height, width = self._levels.shapes[level]
        rows, columns = (
            min(most, max(1, round(length * self.mpp / mpp)))
            for length, most in ((self.height, height), (self.width, width))
        )
        small = np.empty((rows, columns, 3), np.uint8)
        step = max(1, int(_SQUARE * min(rows / height, columns / width)))
        for y0 in range(0, rows, step):
            for x0 in range(0, columns, step):
                y1, x1 = min(rows, y0 + step), min(columns, x0 + step)
                box = Box(
                    y0 * height // rows,
                    x0 * width // columns,
                    y1 * height // rows,
                    x1 * width // columns,
                )
                small[y0:y1, x0:x1] = cv2.resize(
                    self._read(level, box), (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA
                )
        return small

    def picture(self, box: Box, shrink: float) -> np.ndarray:
        """A part of the slide, smaller; what lies outside of the slide is white.

        Parameters
        ----------
        box
            Pixels of level 0.
        shrink
            Pixels of level 0 per pixel of the picture, 1 or more.

        Returns
        -------
        uint8 [(y_max - y_min) / shrink, (x_max - x_min) / shrink, 3]

        Raises
        ------
        ImageError
            If the part cannot be read.
        """
        y0, x0, y1, x1 = box
        picture = np.full((round((y1 - y0) / shrink), round((x1 - x0) / shrink), 3), 255, np.uint8)
        level = self._level_for(shrink)
        down = self._shrinks[level]
        height, width = self._levels.shapes[level]
        top, left = min(height, round(y0 / down)), min(width, round(x0 / down))
        bottom, right = min(height, round(y1 / down)), min(width, round(x1 / down))
        rows = min(len(picture), round((bottom - top) * down / shrink))
        columns = min(picture.shape[1], round((right - left) * down / shrink))
        if rows > 0 and columns > 0:
            pixels = self._read(level, Box(top, left, bottom, right))
            kind = cv2.INTER_AREA if down < shrink else cv2.INTER_LINEAR
            picture[:rows, :columns] = cv2.resize(pixels, (columns, rows), interpolation=kind)
        return picture

    def fingerprint(self) -> str:
        """Identifies this slide, whatever it is called: a hash, 64 hexadecimal digits."""
        return self._fingerprint

    def add_levels(self) -> None:
        """Give a picture in memory smaller levels, so that zoomed-out views are fast."""
        if isinstance(self._levels, InMemory):
            self._levels.add_levels()
            shapes = self._levels.shapes
            self._shrinks = [_shrink(shapes[0], shape) for shape in shapes]

    def _level_for(self, shrink: float) -> int:
        """The smallest level that is not coarser; of several, such as focal planes, the first."""
        fitting = [n for n, times in enumerate(self._shrinks) if n == 0 or times <= shrink]
        return max(fitting, key=self._shrinks.__getitem__)

    def _read(self, level: int, box: Box) -> np.ndarray:
        try:
            return self._levels.read(level, box)
        except MemoryError:
            raise
        except Exception as error:  # on damaged files the decoders raise whatever they happen to
            y0, x0, y1, x1 = (round(edge * self._shrinks[level]) for edge in box)
            raise ImageError(
                f"{self.path} cannot be read at x {x0} to {x1}, y {y0} to {y1}: {reason_of(error)}"
            ) from error


@dataclass(frozen=True)
class Scaled:
    """A slide at a network's scale. May be read from several threads.

    Attributes
    ----------
    slide
        What is read.
    grid
        The pixels of the level that is read, and how they are resampled.
    scale
        Pixels of the slide's level 0 per pixel of the network.
    """

    slide: Slide
    grid: Grid
    scale: float
    _read: Callable[[Box], np.ndarray]

    def read(self, box: Box) -> np.ndarray:
        """A part of it; the same pixels whatever part it is.

        Parameters
        ----------
        box
            Pixels of the network, inside `grid.shape`.

        Returns
        -------
        uint8 [y_max - y_min, x_max - x_min, 3]

        Raises
        ------
        ImageError
            If the part cannot be read.
        """
        return self.grid.resample(self._read(self.grid.source(box)), box)


def _shrink(whole: tuple[int, int], shape: tuple[int, int]) -> float:
    """Pixels of level 0 per pixel of a level: a whole number where rounding explains the rest."""
    ratio = math.sqrt((whole[0] / shape[0]) * (whole[1] / shape[1]))
    number = round(ratio)
    fits = all(abs(most / number - least) < 1 for most, least in zip(whole, shape, strict=True))
    return number if fits else ratio
