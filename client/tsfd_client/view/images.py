"""Images of results, opened when needed; only the last few stay open, as pictures take memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

from tsfd_client.pixels.opening import open_image_of
from tsfd_client.pixels.slide import Slide

_MOST: Final = 4  # images that stay open while nobody uses them


@dataclass
class _Open:
    slide: Slide | None = None
    users: int = 0
    opening: Lock = field(default_factory=Lock)


class Images:
    """Lends images to several threads at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: OrderedDict[Path, _Open] = OrderedDict()

    @contextmanager
    def lend(self, folder: Path) -> Iterator[Slide]:
        """Lend the image of a result.

        Parameters
        ----------
        folder
            Of the result.

        Raises
        ------
        ImageError
            If the image is gone, cannot be read, or has been replaced by another one.
        """
        with self._lock:
            image = self._open.setdefault(folder, _Open())
            self._open.move_to_end(folder)
            image.users += 1
        try:
            with image.opening:
                image.slide = image.slide or _open(folder)
            yield image.slide
        finally:
            with self._lock:
                image.users -= 1
            self._close_all_but(_MOST)

    def close(self) -> None:
        """Close all images that nobody uses."""
        self._close_all_but(0)

    def _close_all_but(self, most: int) -> None:
        with self._lock:
            idle = [folder for folder, image in self._open.items() if not image.users]
            ended = [self._open.pop(folder) for folder in idle[: max(0, len(idle) - most)]]
        for image in ended:
            if image.slide:
                image.slide.close()


def _open(folder: Path) -> Slide:
    slide = open_image_of(folder)
    slide.add_levels()
    return slide
