"""Locust users that segment patches through the client library and check every answer.

    locust -f loadtest/locustfile.py --headless -u 4 -t 30s --host localhost:8001

`make loadtest` starts a server, runs this and judges the figures (`python -m loadtest`).
"""

from __future__ import annotations

import os
import signal
import sys
import time

import grpc.experimental.gevent as grpc_gevent
import numpy as np
from locust import User, events, task
from locust.env import Environment

from samples.patches import patches
from tsfd_client import Client, ServerError, TsfdError

grpc_gevent.init_gevent()  # without it gRPC blocks all users of the process

_BATCH = int(os.environ.get("LOADTEST_BATCH", "4"))


@events.init.add_listener
def _learn_answers(environment: Environment, **_: object) -> None:
    """One quiet pass before the load: the answers under load must be the same."""
    environment.tiles = patches()
    try:
        with Client(_address(environment)) as client:
            client.check()
            environment.expected = expected_counts(client, environment.tiles)
    except TsfdError as error:
        sys.exit(f"loadtest: {error}")


@events.quit.add_listener
def _end(**_: object) -> None:
    """The figures are written: end, even if gRPC and gevent wait for each other, as they may."""
    signal.alarm(5)


def expected_counts(client: Client, tiles: np.ndarray) -> list[int]:
    """Nuclei in each patch, one request after the other."""
    return [len(client.segment_tiles(tile[None])[0].nuclei) for tile in tiles]


def _address(environment: Environment) -> str:
    return environment.host or environment.parsed_options.host or "localhost:8001"


class Viewer(User):
    """Asks for one batch of patches after the other, without a pause."""

    def on_start(self) -> None:
        self._client = Client(_address(self.environment), retry_for=0)
        self._tiles = self.environment.tiles
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
            time.sleep(0.2)  # a refusal is immediate: without a pause nothing else would run
        self.environment.events.request.fire(
            request_type="gRPC",
            name=f"segment {_BATCH} patches",
            response_time=1000 * (time.perf_counter() - started),
            response_length=_BATCH,
            exception=error,
            context={},
        )
