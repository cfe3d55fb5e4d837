"""Memory for intermediate results, reused because mapping it anew costs as much as the work."""

import threading
from typing import Final

import numpy as np

_MOST_KEPT: Final = 1 << 21


class Scratch(threading.local):
    """Arrays for images of up to 2 megapixels, kept from call to call, for each thread its own."""

    def __init__(self) -> None:
        self._kept = _allocate(0, 0)

    def arrays(self, height: int, width: int) -> tuple[np.ndarray, ...]:
        """Return uninitialised arrays for `instances.watershed.watershed`, in its order."""
        pixels, runs = (height + 2) * (width + 2), height * (width // 2 + 1)
        if pixels > _MOST_KEPT:
            return _allocate(pixels, runs)
        if pixels > self._kept[0].size or runs > len(self._kept[-1]):
            self._kept = _allocate(pixels, runs)
        *maps, spans, gaps = self._kept
        return *(array[:pixels] for array in maps), spans, gaps


def _allocate(pixels: int, runs: int) -> tuple[np.ndarray, ...]:
    shapes = (pixels,) * 4 + ((runs, 3),) * 2
    return tuple(np.empty(shape, np.int32) for shape in shapes)
