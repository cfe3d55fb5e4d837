"""What keeps a server from starting: one line that says so, exit code 1."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rows import Row
from supervised import FREE_PORTS

from serving import supervisor
from serving.environment import ROOT
from serving.health import HealthEndpoint
from serving.server import ServerError, TritonServer
from serving.supervisor import Supervisor


def serve(repository: Path, *wrapper: str) -> tuple[int, str]:
    """Exit code and last words of a server that should not start."""
    command = [*wrapper, sys.executable, "-m", "serving", *FREE_PORTS]
    result = subprocess.run(
        [*command, "--repository", str(repository)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.stdout == ""
    return result.returncode, result.stderr


def test_a_repository_that_is_gone(tmp_path: Path, rows: list[Row]) -> None:
    code, said = serve(tmp_path / "gone")
    assert (code, said) == (1, f"There is no model repository at {tmp_path / 'gone'}.\n")
    rows.append(Row("the model repository is gone", "does not start, says so in a line"))


@pytest.mark.long
def test_a_network_that_is_corrupt(repository: Path, tmp_path: Path, rows: list[Row]) -> None:
    broken = tmp_path / "repository"
    shutil.copytree(repository, broken)
    path = broken / "tsfd_net/1/model.onnx"
    path.write_bytes(path.read_bytes()[:100_000])
    code, said = serve(broken)
    assert code == 1
    assert said == (
        "The model tsfd_net cannot be loaded: OpenVINO cannot read model.onnx: run `make convert` "
        "again.\n"
    )
    rows.append(Row("the network's file is cut off", "does not start, says so in a line"))


@pytest.mark.long
def test_shared_memory_that_is_too_small(repository: Path, rows: list[Row]) -> None:
    if os.geteuid() != 0:
        pytest.skip("nothing can be mounted here")
    small = 'mount -t tmpfs -o size=8m tmpfs /dev/shm && exec "$@"'
    code, said = serve(repository, "unshare", "--mount", "sh", "-c", small, "sh")
    assert code == 1
    assert said == (
        "Shared memory (/dev/shm) has 8 MB, but the models need at least 128: start the container "
        "with --shm-size=2g.\n"
    )
    rows.append(Row("/dev/shm of 8 MB", "does not start, says so in a line"))


def test_a_server_that_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[Row]
) -> None:
    monkeypatch.setattr(supervisor, "_EVERY", 0.05)
    monkeypatch.setattr(supervisor, "_FIRST_PAUSE", 0.01)
    empty = tmp_path / "empty"
    empty.mkdir()
    with TritonServer(empty, log_path=tmp_path / "log") as server:
        shutil.rmtree(empty)
        os.kill(server.pid, 9)
        with pytest.raises(ServerError) as caught:
            Supervisor(server).watch()
    assert str(caught.value) == (
        f"Gave up after 5 restarts in a row: There is no model repository at {empty}."
    )
    rows.append(Row("the repository goes, then Triton", "gives up after five restarts, says why"))


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    watched = Supervisor(TritonServer(tmp_path))
    with HealthEndpoint("127.0.0.1", 0, watched) as endpoint:
        port = int(endpoint.url.rpartition(":")[2])
        with pytest.raises(ServerError, match=rf"^Cannot listen on 127.0.0.1:{port} \(health\): "):
            HealthEndpoint("127.0.0.1", port, watched)
