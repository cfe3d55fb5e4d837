"""A picture in memory as a slide of one level, or of several for viewing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tsfd_client.pixels.box import Box
from tsfd_client.pixels.levels import digest_of
from tsfd_client.pixels.scale import Scale

_SMALLEST = 512


class InMemory:
    """The levels of a picture, uint8 [H, W, 3].

    Parameters
    ----------
    image
        uint8 [H, W, 3].
    scale
        What its file states about its scale.
    source
        Its file, which identifies it; without a file, its pixels do.
    remarks
        Warnings about the picture, in sentences.
    """

    def __init__(
        self,
        image: np.ndarray,
        scale: Scale,
        source: Path | None = None,
        remarks: Sequence[str] = (),
    ) -> None:
        self.scale = scale
        self.remarks = list(remarks)
        pixels = np.ascontiguousarray(image).data
        self.digest = digest_of(source) if source else hashlib.sha256(pixels).hexdigest()
        self.dicom_uids: dict[str, str] = {}
        self._images = [image]
        self.shapes: list[tuple[int, int]] = [image.shape[:2]]

    def add_levels(self) -> None:
        """Add levels, each half the size of the one before, so that zoomed-out views are fast."""
        while max(self._images[-1].shape) > _SMALLEST:
            height, width = (-(-side // 2) for side in self._images[-1].shape[:2])
            self._images.append(
                cv2.resize(self._images[-1], (width, height), interpolation=cv2.INTER_AREA)
            )
            self.shapes.append((height, width))

    def read(self, level: int, box: Box) -> np.ndarray:
        """A part of a level, uint8 [h, w, 3]."""
        return box.crop(self._images[level])

    def close(self) -> None:
        """Nothing is open."""
