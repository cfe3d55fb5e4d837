"""The server's own times under load, read every two seconds."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from bench.load import Stages
from loadtest.background import Background

_EVERY = 2.0


@dataclass(frozen=True)
class Reading:
    """Mean times over two seconds.

    Attributes
    ----------
    at
        Middle of the period, in seconds since 1970.
    queue_ms
        Time that a request waited in the queues of all models.
    compute_ms
        Time that a patch took in all models.
    """

    at: float
    queue_ms: float
    compute_ms: float


class ServerTimes(Background):
    """Reads a server's statistics in a thread, as a context manager.

    Attributes
    ----------
    readings
        The readings so far.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.readings: list[Reading] = []
        self._url = url

    def run(self) -> None:
        """Read until the context ends."""
        with triton.InferenceServerClient(self._url) as connection:
            while not self.ended.is_set():
                # A server that is unreachable has no times; the clients' records show the rest.
                with contextlib.suppress(InferenceServerException):
                    begin, stages = time.time(), Stages(connection)
                    self.ended.wait(_EVERY)
                    times = stages.stop().values()
                    if times:
                        queue = sum(stage.queue_ms for stage in times)
                        compute = sum(stage.compute_ms for stage in times)
                        self.readings.append(Reading((begin + time.time()) / 2, queue, compute))
