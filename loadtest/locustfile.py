"""Locust users that segment patches through the client library and check every answer in full.

    locust -f loadtest/locustfile.py --host localhost:8001 Arrivals
    locust -f loadtest/locustfile.py --host localhost:8001 Viewer

`Arrivals` sends requests at times drawn beforehand, whatever the server does (an open loop);
latencies count from the time at which a request was meant to be sent. `Viewer` sends its next
request when the last has been answered (a closed loop), so it sends fewer if the server is slow.
``python -m loadtest`` starts a server, runs both and judges the figures.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from argparse import ArgumentParser
from pathlib import Path

import gevent
import gevent.pool
import grpc.experimental.gevent as grpc_gevent
import numpy as np
from locust import User, constant_throughput, events, task
from locust.env import Environment
from locust.exception import StopUser

from loadtest import answers, records
from loadtest.answers import KINDS
from loadtest.arrivals import draw
from loadtest.profiles import read
from tsfd_client import Client, TsfdError

grpc_gevent.init_gevent()  # otherwise gRPC blocks all users of the process

_MOST_UNDER_WAY = 1000  # per user; further requests are dropped and counted
_PAUSE = 0.2  # refusals are immediate: without a pause nothing else would run


@events.init_command_line_parser.add_listener
def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--steps",
        default="[[5, 60]]",
        help="for Arrivals: pairs of patches per second (all users together) and seconds, as JSON",
    )
    parser.add_argument(
        "--pace", type=float, default=0, help="for Viewer: requests per second; 0: no pause"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random times")
    parser.add_argument(
        "--answers", default="", help="file of loadtest.answers; written if missing"
    )
    parser.add_argument("--records", default="", help="folder for requests-<process>.csv")


@events.init.add_listener
def _begin(environment: Environment, **_: object) -> None:
    """Load the right answers, and check that the server has the release that gives them."""
    options = environment.parsed_options
    environment.mix = read().mix
    environment.asked = (
        answers.load(Path(options.answers)) if options.answers else answers.compute()
    )
    environment.writer = (
        records.Writer(Path(options.records) / f"requests-{os.getpid()}.csv")
        if options.records
        else None
    )
    environment.users_begun = 0
    try:
        with Client(_address(environment)) as client:
            served = client.check().release.name
    except TsfdError as error:
        sys.exit(f"loadtest: {error}")
    if served != environment.asked.release:
        sys.exit(
            f"loadtest: The server serves {served}, but model_repository holds "
            f"{environment.asked.release}: their answers differ."
        )


@events.quit.add_listener
def _end(**_: object) -> None:
    """End the process now that all is written: gRPC and gevent may wait for each other forever."""
    signal.alarm(5)


@events.test_stop.add_listener
def _finish(environment: Environment, **_: object) -> None:
    if environment.writer:
        environment.writer.close(environment.asked.agreement)


def _address(environment: Environment) -> str:
    return environment.host or environment.parsed_options.host or "localhost:8001"


class _Asking(User):
    """Sends requests and records their outcomes."""

    abstract = True

    def on_start(self) -> None:
        self._client = Client(_address(self.environment), retry_for=0)
        runner = self.environment.runner
        place = (getattr(runner, "worker_index", 0), self.environment.users_begun)
        self.environment.users_begun += 1
        self._rng = np.random.default_rng((self.environment.parsed_options.seed, *place))

    def on_stop(self) -> None:
        self._client.close()

    def _ask(self, kind: str, choice: int, intended: float) -> bool:
        """Send a request; return whether it was answered."""
        sent = time.time()
        failure: Exception | None = None
        try:
            right = self.environment.asked.ask(self._client, kind, choice)
            status = records.ANSWERED if right else records.WRONG
        except TsfdError as error:
            failure, status = error, _status(error)
        self._note(kind, intended, sent, status, failure)
        return failure is None

    def _note(
        self, kind: str, intended: float, sent: float, status: str, failure: Exception | None = None
    ) -> None:
        done = time.time()
        if self.environment.writer:
            self.environment.writer.write(kind, KINDS[kind], intended, sent, done, status)
        if failure is None and status != records.ANSWERED:
            failure = AssertionError(status)
        self.environment.events.request.fire(
            request_type="gRPC",
            name=kind,
            response_time=1000 * (done - intended),
            response_length=KINDS[kind],
            exception=failure,
            context={},
        )


def _status(error: TsfdError) -> str:
    """gRPC's name for a failure."""
    cause = error.__cause__
    status = cause.status() if hasattr(cause, "status") else None
    return str(status or type(error).__name__).removeprefix("StatusCode.")


class Arrivals(_Asking):
    """Sends requests at random times, whether or not earlier ones have been answered."""

    @task
    def send(self) -> None:
        options = self.environment.parsed_options
        users = max(1, options.num_users or 1)
        steps = [[rate / users, seconds] for rate, seconds in json.loads(options.steps)]
        under_way = gevent.pool.Pool(_MOST_UNDER_WAY)
        begin = time.time()
        for arrival in draw(steps, self.environment.mix, self._rng):
            intended = begin + arrival.at
            gevent.sleep(max(0.0, intended - time.time()))
            if under_way.full():
                self._note(arrival.kind, intended, time.time(), records.DROPPED)
            else:
                under_way.spawn(self._ask, arrival.kind, arrival.choice, intended)
        under_way.join()
        raise StopUser


class Viewer(_Asking):
    """Sends one request after the other."""

    def wait_time(self) -> float:
        pace = self.environment.parsed_options.pace
        return constant_throughput(pace)(self) if pace else 0.0

    @task
    def segment(self) -> None:
        mix = self.environment.mix
        shares = np.array(list(mix.values())) / sum(mix.values())
        kind = str(self._rng.choice(list(mix), p=shares))
        if not self._ask(kind, int(self._rng.integers(1 << 30)), time.time()):
            gevent.sleep(_PAUSE)
