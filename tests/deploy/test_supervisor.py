"""A server that is watched: what dies or hangs comes back, what is only busy is left alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from deploy import supervisor
from deploy.health import HealthEndpoint
from deploy.server import ServerError, TritonServer
from deploy.setup import ROOT
from deploy.supervisor import Supervisor
from tsfd_client import Client, ServerUnavailableError

FREE_PORTS = [f"--{name}-port=0" for name in ("grpc", "http", "metrics", "health")]


class Serving:
    """``python -m deploy.serve``, and what it says of itself."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "deploy.serve", *FREE_PORTS]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        ready = self.process.stdout.readline()
        self.url = re.search(r"gRPC (\S+)", ready)[1]
        self.health_url = re.search(r"health (\S+)", ready)[1]

    def health(self) -> tuple[int, dict]:
        """Status and content of the health endpoint."""
        try:
            with urllib.request.urlopen(self.health_url, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def is_up(self) -> bool:
        return self.health()[0] == 200

    def backend(self, model: str) -> psutil.Process:
        """The process of a model's Python backend."""
        (triton,) = psutil.Process(self.process.pid).children()
        (found,) = (
            process
            for process in triton.children()
            if any(word.startswith(f"{model}_") for word in process.cmdline())
        )
        return found

    def end(self) -> str:
        """Stop it; returns what it said."""
        self.process.terminate()
        output, errors = self.process.communicate(timeout=60)
        assert (self.process.returncode, output) == (0, "")
        return errors


@pytest.fixture
def serving(repository: Path) -> Iterator[Serving]:
    running = Serving()
    with running.process:  # closes its pipes
        yield running
        if running.process.poll() is None:
            running.end()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_a_client_rides_through_the_death_of_a_backend(
    serving: Serving, patches: np.ndarray
) -> None:
    assert serving.is_up()
    with Client(serving.url, transport="shm") as client:
        (before,) = client.segment_tiles(patches[:1])
        serving.backend("nuclei_postprocess").kill()
        (after,) = client.segment_tiles(patches[:1])
    assert np.array_equal(after.instance_map, before.instance_map)
    assert np.array_equal(after.nuclei, before.nuclei)

    until(serving.is_up)
    assert serving.health()[1]["restarts"] == 1
    with urllib.request.urlopen(serving.health_url.replace("health", "metrics")) as answer:
        assert "\ntsfd_up 1\n" in (text := answer.read().decode())
    assert "\ntsfd_restarts_total 1\n" in text
    first, second = serving.end().splitlines()
    assert re.fullmatch("Restarting the server: .*'nuclei_postprocess_0_0' is not healthy.*", first)
    assert re.fullmatch(r"The server answers again after \d+\.\d s\.", second)


def test_a_server_that_was_killed_is_started_again(serving: Serving, patches: np.ndarray) -> None:
    with Client(serving.url) as client:
        client.segment_tiles(patches[:1])
        (triton,) = psutil.Process(serving.process.pid).children()
        triton.kill()
        client.segment_tiles(patches[:1])
    until(serving.is_up)
    assert "Restarting the server: The Triton server ended with exit code -9: " in serving.end()


def test_a_backend_that_hangs_is_replaced(serving: Serving, patches: np.ndarray) -> None:
    serving.backend("tsfd_net").suspend()
    until(lambda: serving.health()[0] == 503)
    with Client(serving.url, retry_for=60) as client:
        client.segment_tiles(patches[:1])
    until(serving.is_up)
    assert serving.health()[1]["restarts"] == 1
    assert serving.end().startswith("Restarting the server: ")


def test_busy_is_not_dead(serving: Serving, patches: np.ndarray) -> None:
    """More at once than fits into the queue, so that canaries are late or refused."""
    ending = threading.Event()
    answered, refused = [], []

    def ask() -> None:
        with Client(serving.url, retry_for=0, timeout=60) as client:
            while not ending.is_set():
                try:
                    client.segment_tiles(patches[:1])
                    answered.append(1)
                except ServerUnavailableError:
                    refused.append(1)
                    time.sleep(0.05)

    with ThreadPoolExecutor(90) as pool:
        for _ in range(90):
            pool.submit(ask)
        time.sleep(8)
        ending.set()
    assert answered
    assert refused
    assert serving.health()[1]["restarts"] == 0
    assert serving.end() == ""


def test_it_drains(serving: Serving, patches: np.ndarray) -> None:
    with Client(serving.url, retry_for=0) as client, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(client.segment_tiles, patches)
        time.sleep(0.2)
        serving.process.terminate()
        until(lambda: serving.health()[0] == 503, 5)
        assert serving.health()[1]["state"] == "draining"
        # Who has not seen it yet is still answered.
        client.segment_tiles(patches[:1])
        assert len(under_way.result()) == len(patches)
    assert serving.process.wait(30) == 0


def test_it_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_EVERY", 0.05)
    monkeypatch.setattr(supervisor, "_FIRST_PAUSE", 0.01)
    empty = tmp_path / "empty"
    empty.mkdir()
    with TritonServer(empty, log_path=tmp_path / "log") as server:
        shutil.rmtree(empty)
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ServerError) as caught:
            Supervisor(server).watch()
    assert str(caught.value) == (
        f"Gave up after 5 restarts in a row: There is no model repository at {empty}."
    )


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    watched = Supervisor(TritonServer(tmp_path))
    with HealthEndpoint("127.0.0.1", 0, watched) as endpoint:
        port = int(endpoint.url.rpartition(":")[2])
        with pytest.raises(ServerError, match=rf"^Cannot listen on 127.0.0.1:{port} \(health\): "):
            HealthEndpoint("127.0.0.1", port, watched)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(endpoint.url)
