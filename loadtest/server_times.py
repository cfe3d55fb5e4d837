"""The server's own times while it is under load, a reading every two seconds."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import Self

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from bench.load import Stages

_EVERY = 2.0


@dataclass(frozen=True)
class Reading:
    """Mean times over two seconds.

    Attributes
    ----------
    at
        The middle, in seconds since 1970.
    queue_ms
        What a request waited in the queues of all models.
    compute_ms
        What a patch took in all models.
    """

    at: float
    queue_ms: float
    compute_ms: float


class ServerTimes:
    """Reads a server's statistics from a thread, as a context manager.

    Attributes
    ----------
    readings
        So far.
    """

    def __init__(self, url: str) -> None:
        self.readings: list[Reading] = []
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="server times")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        with triton.InferenceServerClient(self._url) as connection:
            while not self._ended.is_set():
                # A server that is away for a while has no times; its clients tell the rest.
                with contextlib.suppress(InferenceServerException):
                    begin, stages = time.time(), Stages(connection)
                    self._ended.wait(_EVERY)
                    times = stages.stop().values()
                    if times:
                        queue = sum(stage.queue_ms for stage in times)
                        compute = sum(stage.compute_ms for stage in times)
                        self.readings.append(Reading((begin + time.time()) / 2, queue, compute))
