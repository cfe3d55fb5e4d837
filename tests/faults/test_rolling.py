"""Two servers behind HAProxy are restarted, and given other weights, without a lost request."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from load import Load
from programs import free_port, need, until
from releases import change
from rows import Row
from supervised import Serving

from conversion.release import release_file
from serving.environment import ROOT
from serving.server import choose_ports
from tsfd_client import Client, TsfdError


class Pair:
    """Two supervised servers and HAProxy in front of them, as a context manager."""

    def __init__(self, repository: Path) -> None:
        program = need("haproxy")
        self._ports = [_free_ports(), _free_ports()]
        self.servers = [self._start(number, repository) for number in (0, 1)]
        self.url = f"127.0.0.1:{free_port()}"
        places = {
            f"{name}{end}": value
            for name, ports in zip("AB", self._ports, strict=True)
            for end, value in (("", f"127.0.0.1:{ports['grpc']}"), ("_HEALTH", ports["health"]))
        }
        self._proxy = subprocess.Popen(
            [program, "-f", str(ROOT / "deploy/rolling/haproxy.cfg")],
            env=os.environ | {"LISTEN": self.url} | {k: str(v) for k, v in places.items()},
            stderr=subprocess.DEVNULL,
        )
        until(self._answers)

    def close(self) -> None:
        self._proxy.terminate()
        self._proxy.wait()
        for server in self.servers:
            with server:
                server.end()

    def restart(self, number: int, repository: Path) -> None:
        """Drain a server and start it again, with what `repository` holds."""
        with self.servers[number] as server:
            server.end()
        self.servers[number] = self._start(number, repository)
        until(self.servers[number].is_up)

    def _start(self, number: int, repository: Path) -> Serving:
        ports = [f"--{name}-port={port}" for name, port in self._ports[number].items()]
        return Serving([*ports, "--repository", str(repository)])

    def _answers(self) -> bool:
        try:
            with Client(self.url, retry_for=0) as client:
                client.check()
        except TsfdError:
            return False
        return True


def _free_ports() -> dict[str, int]:
    return choose_ports("127.0.0.1", dict.fromkeys(("grpc", "http", "metrics", "health"), 0))


@pytest.fixture
def pair(repository: Path) -> Iterator[Pair]:
    with closing(Pair(repository)) as running:
        yield running


@pytest.fixture
def other(repository: Path, tmp_path: Path) -> Path:
    """The same network with another threshold: another release, which answers otherwise."""
    folder = tmp_path / "repository"
    shutil.copytree(repository, folder)
    record = json.loads(release_file(folder).read_text())
    change(folder, release="lite-other", parameters=record["parameters"] | {"min_area": 150})
    return folder


@pytest.mark.long
def test_a_rolling_restart_loses_nothing(
    pair: Pair, repository: Path, patches: np.ndarray, rows: list[Row]
) -> None:
    """Though the clients do not try again."""
    with Load(pair.url, patches[:4], retry_for=0) as load:
        for number in (0, 1):
            pair.restart(number, repository)
    assert (load.wrong, load.refused, load.failures) == (0, [], [])
    fault = "rolling restart of two servers behind HAProxy"
    rows.append(Row(fault, "nobody notices (`retry_for=0`)", load.gap(), load.answered, 0))


@pytest.mark.long
def test_a_rolling_change_of_weights_loses_nothing(
    pair: Pair, other: Path, patches: np.ndarray, rows: list[Row]
) -> None:
    """Each answer names its release, and is what that release answers."""
    with Load(pair.url, patches[:4], retry_for=0) as load:
        for number in (0, 1):
            pair.restart(number, other)
        load.learn(pair.servers[0].url)
    assert (load.wrong, load.refused, load.failures) == (0, [], [])
    assert len(load.releases) == 2
    assert "lite-other" in load.releases
    fault = "rolling change of weights of two servers"
    outcome = "nobody notices (`retry_for=0`); each answer is that of the release it names"
    rows.append(Row(fault, outcome, load.gap(), load.answered, 0))


@pytest.mark.long
def test_one_of_two_servers_is_killed(pair: Pair, patches: np.ndarray, rows: list[Row]) -> None:
    with Load(pair.url, patches[:4]) as load:
        pair.servers[0].triton().kill()
        until(lambda: not pair.servers[0].is_up())
        until(pair.servers[0].is_up)
    assert (load.wrong, load.refused, load.failures) == (0, [], [])
    fault = "one of two servers behind HAProxy is killed"
    rows.append(Row(fault, "clients ride through on the other", load.gap(), load.answered, 0))
