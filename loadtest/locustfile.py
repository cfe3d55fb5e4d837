"""Locust users that segment patches through the client library and check every answer.

    locust -f loadtest/locustfile.py --headless -u 4 -t 30s --host localhost:8001

`make loadtest` starts a server, runs this and judges the figures (`python -m loadtest`).
"""

from __future__ import annotations

import os
import time

import grpc.experimental.gevent as grpc_gevent
import numpy as np
from locust import User, events, task
from locust.env import Environment
from locust.runners import Runner

from loadtest.patches import expected_counts, patches
from tsfd_client import Client, ServerError, TsfdError

grpc_gevent.init_gevent()  # without it gRPC blocks all users of the process

_BATCH = int(os.environ.get("LOADTEST_BATCH", "4"))


@events.test_start.add_listener
def _learn_answers(environment: Environment, **_: object) -> None:
    """One quiet pass before the load: the answers under load must be the same."""
    if isinstance(environment.runner, Runner):
        with Client(environment.host or "localhost:8001") as client:
            client.check()
            environment.expected = expected_counts(client)


class Viewer(User):
    """Asks for one batch of patches after the other, without a pause."""

    def on_start(self) -> None:
        self._client = Client(self.host or "localhost:8001", retry_for=0)
        self._tiles = patches()
        self._rng = np.random.default_rng()

    def on_stop(self) -> None:
        self._client.close()

    @task
    def segment(self) -> None:
        chosen = self._rng.choice(len(self._tiles), _BATCH, replace=False)
        started = time.perf_counter()
        error: TsfdError | None = None
        try:
            results = self._client.segment_tiles(self._tiles[chosen])
            counts = [len(result.nuclei) for result in results]
            expected = [self.environment.expected[i] for i in chosen]
            if counts != expected:
                error = ServerError(f"Wrong answer: {counts} nuclei instead of {expected}.")
        except TsfdError as failure:
            error = failure
        self.environment.events.request.fire(
            request_type="gRPC",
            name=f"segment {_BATCH} patches",
            response_time=1000 * (time.perf_counter() - started),
            response_length=_BATCH,
            exception=error,
            context={},
        )
