"""A picture in memory as a slide of one level and smaller ones."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from tsfd_client.pixels.box import Box

_SMALLEST = 512


class Whole:
    """Levels of a picture, uint8 [H, W, 3], each half of the one before."""

    def __init__(self, image: np.ndarray, mpp: float) -> None:
        self.mpp: float | None = mpp
        self.digest = hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()
        self.dicom_uids: dict[str, str] = {}
        self._images = [image]
        while max(self._images[-1].shape) > _SMALLEST:
            height, width = (-(-side // 2) for side in self._images[-1].shape[:2])
            self._images.append(
                cv2.resize(self._images[-1], (width, height), interpolation=cv2.INTER_AREA)
            )
        self.shapes: list[tuple[int, int]] = [level.shape[:2] for level in self._images]

    def read(self, level: int, box: Box) -> np.ndarray:
        """A part of a level, uint8 [h, w, 3]."""
        return box.crop(self._images[level])

    def close(self) -> None:
        """Nothing is open."""
