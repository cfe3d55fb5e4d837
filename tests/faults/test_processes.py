"""A process that dies, hangs or is told to end: the server comes back, and clients go on."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from load import Load
from programs import until
from rows import Row
from supervised import Serving

from tsfd_client import Client

_MEMORY = Path("/sys/fs/cgroup/memory")


def note(rows: list[Row], fault: str, outcome: str, seconds: float, load: Load) -> None:
    failed = len(load.refused) + len(load.failures)
    rows.append(Row(fault, outcome, seconds, load.answered, failed))
    assert load.wrong == 0
    assert load.failures == []


def is_replaced(serving: Serving, load: Load, seconds: float = 60) -> float:
    """Wait until a server was seen down and answers again; seconds until it was seen."""
    seen = until(lambda: not serving.is_up())
    until(serving.is_up, seconds)
    answered = load.answered
    until(lambda: load.answered > answered)
    return seen


def test_a_client_rides_through_the_death_of_a_backend(
    serving: Serving, patches: np.ndarray
) -> None:
    """By shared memory, whose regions the new server does not know."""
    with Client(serving.url, transport="shm") as client:
        (before,) = client.segment_tiles(patches[:1])
        serving.backend("nuclei_postprocess").kill()
        (after,) = client.segment_tiles(patches[:1])
    assert np.array_equal(after.instance_map, before.instance_map)
    assert np.array_equal(after.nuclei, before.nuclei)

    until(serving.is_up)
    assert serving.restarts() == 1
    with urllib.request.urlopen(serving.health_url.replace("health", "metrics")) as answer:
        assert "\ntsfd_up 1\n" in (text := answer.read().decode())
    assert "\ntsfd_restarts_total 1\n" in text
    first, second = serving.end().splitlines()
    assert first.startswith("Restarting the server: ")
    assert "'nuclei_postprocess_0_0' is not healthy" in first
    assert second.startswith("The server answers again after ")


def test_a_server_is_killed(serving: Serving, patches: np.ndarray, rows: list[Row]) -> None:
    with Load(serving.url, patches[:4]) as load:
        serving.triton().kill()
        is_replaced(serving, load)
    note(rows, "Triton is killed (SIGKILL)", "restarted; clients ride through", load.gap(), load)
    assert load.refused == []
    assert "Restarting the server: The Triton server ended with exit code -9: " in serving.end()


@pytest.mark.long
@pytest.mark.parametrize("model", ["tsfd_net", "nuclei_postprocess"])
def test_a_backend_is_killed(
    model: str, serving: Serving, patches: np.ndarray, rows: list[Row]
) -> None:
    with Load(serving.url, patches[:4]) as load:
        serving.backend(model).kill()
        seen = is_replaced(serving, load)
    outcome = f"seen by the canary after {seen:.1f} s, restarted; clients ride through"
    note(rows, f"the backend of `{model}` is killed (SIGKILL)", outcome, load.gap(), load)
    assert load.refused == []
    assert serving.restarts() == 1


def test_a_backend_hangs(serving: Serving, patches: np.ndarray, rows: list[Row]) -> None:
    with Load(serving.url, patches[:4], retry_for=120) as load:
        serving.backend("tsfd_net").suspend()
        is_replaced(serving, load, 120)
    outcome = "replaced; clients that try for two minutes ride through"
    note(rows, "a backend hangs (SIGSTOP)", outcome, load.gap(), load)
    assert load.refused == []
    assert serving.restarts() == 1
    assert serving.end().startswith("Restarting the server: ")


@pytest.mark.long
def test_a_backend_hangs_for_three_seconds(
    serving: Serving, patches: np.ndarray, rows: list[Row]
) -> None:
    with Load(serving.url, patches[:4]) as load:
        backend = serving.backend("nuclei_postprocess")
        backend.suspend()
        time.sleep(3)
        with contextlib.suppress(psutil.NoSuchProcess):  # Triton may have given it up
            backend.resume()
        answered = load.answered
        until(lambda: load.answered > answered + 3)
        until(serving.is_up)
    restarts = serving.restarts()
    outcome = "late answers, no restart" if not restarts else "restarted; clients ride through"
    note(rows, "a backend hangs for 3 s", outcome, load.gap(), load)
    assert load.refused == []


@pytest.mark.long
def test_triton_is_told_to_end_without_its_supervisor(
    serving: Serving, patches: np.ndarray, rows: list[Row]
) -> None:
    with Load(serving.url, patches[:4]) as load:
        serving.triton().terminate()
        is_replaced(serving, load)
    note(rows, "SIGTERM to Triton alone", "restarted; clients ride through", load.gap(), load)
    assert load.refused == []


def test_it_drains(serving: Serving, patches: np.ndarray, rows: list[Row]) -> None:
    """Who does not try again, and leaves when the health says so, loses nothing."""
    with Client(serving.url, retry_for=0) as client, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.segment_tiles, patches[i : i + 8]) for i in range(0, 32, 8)]
        time.sleep(0.2)
        begin = time.monotonic()
        serving.process.terminate()
        until(lambda: not serving.is_up(), 5)
        assert serving.health()[1]["state"] == "draining"
        # Who has not seen it yet is still answered.
        client.segment_tiles(patches[:1])
        assert sum(len(future.result()) for future in asked) == len(patches)
    assert serving.process.wait(30) == 0
    seconds = time.monotonic() - begin
    outcome = "not ready at once, answers what it has, ends with 0"
    rows.append(Row("SIGTERM to the supervisor, under load", outcome, seconds, len(asked) + 1, 0))


@pytest.fixture
def limit() -> Iterator[Path]:
    """A control group whose memory can be limited."""
    if not os.access(_MEMORY, os.W_OK):
        pytest.skip("no control group for memory can be made here")
    group = _MEMORY / f"tsfd-test-{os.getpid()}"
    group.mkdir()
    yield group
    until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


@pytest.mark.long
def test_memory_runs_out(
    repository: Path, limit: Path, patches: np.ndarray, rows: list[Row]
) -> None:
    """The kernel kills the group's largest process, as in a container that reaches its limit."""
    join = f'echo $$ > {limit}/cgroup.procs && exec "$@"'
    wrapper = ["sh", "-c", join, "sh"]
    with Serving(["--repository", str(repository)], wrapper) as serving:
        most = limit / "memory.limit_in_bytes"
        with Load(serving.url, patches[:4]) as load, Client(serving.url) as client:
            used = int((limit / "memory.usage_in_bytes").read_text())
            most.write_text(str(used + (1 << 20)))
            crowd = ThreadPoolExecutor(1).submit(client.segment_tiles, patches)
            until(lambda: "oom_kill 0" not in (limit / "memory.oom_control").read_text())
            most.write_text("-1")
            assert len(crowd.result()) == len(patches)
            until(serving.is_up)
        restarts = serving.restarts()
        serving.end()
    outcome = "the network is killed by the kernel, restarted; clients ride through"
    note(rows, "the memory limit is reached", outcome, load.gap(), load)
    assert load.refused == []
    assert restarts == 1


@pytest.mark.long
def test_clients_are_killed(serving: Serving, patches: np.ndarray, rows: list[Row]) -> None:
    """With their requests in the server's queue, again and again."""
    script = (
        "import sys, numpy as np; from concurrent.futures import ThreadPoolExecutor; "
        "from tsfd_client import Client; "
        "client = Client(sys.argv[1], transport=sys.argv[2]); client.shares_memory(); "
        "tiles = np.full((8, 256, 256, 3), 200, np.uint8); "
        "client.segment_tiles(tiles); print('asking', flush=True); "
        "ThreadPoolExecutor(16).map(client.segment_tiles, [tiles] * 1000)"
    )
    memory = []
    for transport in ["grpc", "shm"] * 4:
        command = [sys.executable, "-c", script, serving.url, transport]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, **pipes) as client:
            client.stdout.readline()
            time.sleep(1)
            client.kill()
        drained = until(lambda: _waiting(serving) == 0)
        processes = [serving.triton(), *serving.triton().children()]
        memory.append(sum(process.memory_info().rss for process in processes) / 1e6)
    with Client(serving.url) as client:
        client.check()
    assert serving.restarts() == 0
    assert memory[-1] < memory[1] + 100
    outcome = f"the queue drains; memory {memory[1]:.0f} MB after two, {memory[-1]:.0f} after eight"
    rows.append(Row("clients are killed with 128 patches under way", outcome, drained))


def _waiting(serving: Serving) -> int:
    """Requests in the queues of all models."""
    with urllib.request.urlopen(serving.metrics_url) as answer:
        text = answer.read().decode()
    counts = re.findall(r"^nv_inference_pending_request_count{.*} (\d+)$", text, re.MULTILINE)
    assert counts
    return sum(map(int, counts))
