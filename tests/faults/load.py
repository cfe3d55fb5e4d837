"""Clients that ask one server all the time, while something happens to it."""

from __future__ import annotations

import hashlib
import threading
import time
from types import TracebackType
from typing import Self

import numpy as np

from tsfd_client import Client, ServerUnavailableError, TsfdError
from tsfd_client.nuclei.assembly import TileResult


class Load:
    """A few clients, each asking for one patch after the other, as a context manager.

    Every answer is compared with the first one of that release for the same patch, given before
    anything happened.

    Parameters
    ----------
    url
        Of the server.
    patches
        uint8 [N, 256, 256, 3].
    clients
        How many ask at a time.
    options
        Of `Client`.

    Attributes
    ----------
    refused
        Of requests that were refused or not answered in time, where a client does not try again.
    failures
        Other errors.
    """

    def __init__(
        self, url: str, patches: np.ndarray, *, clients: int = 3, **options: object
    ) -> None:
        self._url = url
        self._patches = patches
        self._options = options
        self._right: dict[tuple[str, int], bytes] = {}
        self.learn(url)
        self._found: list[tuple[str, int, bytes]] = []
        self._ending = threading.Event()
        self._done: list[tuple[float, float]] = []  # sent, answered
        self.refused: list[str] = []
        self.failures: list[TsfdError] = []
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        time.sleep(1)  # a little of an ordinary day before something happens
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"

    def learn(self, url: str) -> None:
        """Learn the right answers of the release that a server has."""
        with Client(url) as client:
            for number, patch in enumerate(self._patches):
                (found,) = client.segment_tiles(patch[None])
                self._right[found.release, number] = _digest(found)

    @property
    def answered(self) -> int:
        return len(self._done)

    @property
    def wrong(self) -> int:
        """Answers that are not those of the release they name."""
        return sum(self._right[name, number] != digest for name, number, digest in self._found)

    @property
    def releases(self) -> set[str]:
        """Of all answers."""
        return {name for name, *_ in self._found}

    def gap(self) -> float:
        """Longest time in seconds in which nothing was answered."""
        return float(np.diff(np.sort([done for _, done in self._done])).max())

    def latency(self, percent: float) -> float:
        """Of the answered requests, in seconds."""
        return float(np.percentile([done - sent for sent, done in self._done], percent))

    def _ask(self, number: int) -> None:
        with Client(self._url, **self._options) as client:
            while not self._ending.is_set():
                number = (number + 1) % len(self._patches)
                sent = time.monotonic()
                try:
                    (found,) = client.segment_tiles(self._patches[number][None])
                except ServerUnavailableError as error:
                    self.refused.append(str(error))
                    time.sleep(0.05)
                except TsfdError as error:
                    self.failures.append(error)
                else:
                    self._done.append((sent, time.monotonic()))
                    self._found.append((found.release, number, _digest(found)))


def _digest(result: TileResult) -> bytes:
    arrays = (result.instance_map, result.nuclei)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).digest()
