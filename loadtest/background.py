"""Work in a thread while a load runs."""

from __future__ import annotations

import threading
from typing import Self


class Background:
    """A thread that works for the duration of the context; `run` must end when `ended` is set."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self.run, name=type(self).__name__)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self._thread.join()

    def run(self) -> None:
        """Work."""
        raise NotImplementedError
