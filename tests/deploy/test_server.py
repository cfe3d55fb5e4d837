"""The embedded server: starts, stops, leaves nothing behind, and explains what went wrong."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from deploy import server as deploy_server
from deploy.server import (
    ArtefactMissingError,
    EnvironmentMissingError,
    ModelLoadError,
    PortInUseError,
    TritonServer,
)
from deploy.setup import ROOT

SERVE = [sys.executable, "-m", "deploy.serve"]
FREE_PORTS = [f"--{name}-port=0" for name in ("grpc", "http", "metrics", "health")]


@pytest.fixture
def network_only(tmp_path: Path) -> Path:
    """A repository that holds the network alone, without its artefact."""
    source = ROOT / "model_repository/tsfd_net"
    folder = tmp_path / "repository/tsfd_net"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("model.*x", "model.plan*"))
    return folder.parent


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A repository without models: its server is ready at once."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def left_behind(prefix: str) -> list[Path]:
    """Shared memory with the prefix, and processes that carry it in their arguments."""
    memory = list(Path("/dev/shm").glob(f"{prefix}*"))
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if prefix.encode() in (process / "cmdline").read_bytes():
                memory.append(process)
        except OSError:
            continue  # it ended meanwhile
    return memory


def test_metrics_and_readiness(server: TritonServer) -> None:
    with urllib.request.urlopen(f"{server.http_url}/v2/health/ready") as answer:
        assert answer.status == 200
    with urllib.request.urlopen(server.metrics_url) as answer:
        assert b"nv_inference_request_success" in answer.read()


def test_port_in_use(empty: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError) as caught:
            TritonServer(empty, grpc_port=port).start()
    assert str(caught.value) == (
        f"Cannot listen on 127.0.0.1:{port} (gRPC): Address already in use; choose another "
        "address or port."
    )


def test_missing_artefact(network_only: Path) -> None:
    with pytest.raises(ArtefactMissingError) as caught:
        TritonServer(network_only).start()
    assert str(caught.value) == (
        f"{network_only.resolve()}/tsfd_net/1/model.onnx is missing: run `make convert`."
    )


def test_missing_repository(tmp_path: Path) -> None:
    with pytest.raises(ArtefactMissingError) as caught:
        TritonServer(tmp_path / "nowhere").start()
    assert str(caught.value) == f"There is no model repository at {tmp_path.resolve()}/nowhere."


def test_missing_environment(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy_server, "find_environment", lambda: None)
    with pytest.raises(EnvironmentMissingError) as caught:
        TritonServer(empty).start()
    assert str(caught.value) == (
        "The Triton server's environment is missing or out of date: run `make setup`."
    )


def test_a_network_that_does_not_load(network_only: Path, tmp_path: Path) -> None:
    (network_only / "tsfd_net/1/model.onnx").write_bytes(b"not a network")
    server = TritonServer(network_only, log_path=tmp_path / "log")
    with pytest.raises(ModelLoadError) as caught:
        server.start()
    assert str(caught.value) == (
        "The model tsfd_net does not load: OpenVINO cannot read model.onnx: run `make convert` "
        "again."
    )
    prefix = re.search(r"shm-region-prefix-name\W+(tsfd_\w+_)", (tmp_path / "log").read_text())[1]
    assert left_behind(prefix) == []


def test_a_configuration_that_is_misspelt(network_only: Path, tmp_path: Path) -> None:
    (network_only / "tsfd_net/1/model.onnx").write_bytes(b"not a network")
    config = network_only / "tsfd_net/configs/cpu.pbtxt"
    config.write_text("max_batch_sizes: 32\n")
    with pytest.raises(ModelLoadError) as caught:
        TritonServer(network_only, log_path=tmp_path / "log").start()
    assert str(caught.value) == (
        f"The model tsfd_net does not load: failed to read text proto from {config.resolve()} "
        '(1:16: Message type "inference.ModelConfig" has no field named "max_batch_sizes".)'
    )


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_ready_and_stops_cleanly(empty: Path, stop: signal.Signals) -> None:
    with subprocess.Popen(
        [*SERVE, "--repository", empty, *FREE_PORTS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        line = process.stdout.readline()
        address = r"127\.0\.0\.1:\d+"
        pattern = (
            rf"READY gRPC {address} HTTP http://{address} metrics http://{address}/metrics "
            rf"health http://{address}/health\n"
        )
        assert re.fullmatch(pattern, line), process.stderr.read()
        process.send_signal(stop)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "", "")
    assert left_behind(f"tsfd_{process.pid}_") == []


def test_serve_stops_while_models_load(repository: Path) -> None:
    with subprocess.Popen([*SERVE, "--repository", repository, *FREE_PORTS], cwd=ROOT) as process:
        deadline = time.monotonic() + 60
        while not left_behind(f"tsfd_{process.pid}_") and time.monotonic() < deadline:
            time.sleep(0.02)
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert left_behind(f"tsfd_{process.pid}_") == []


def test_serve_fails_with_one_line(network_only: Path) -> None:
    result = subprocess.run(
        [*SERVE, "--repository", network_only, *FREE_PORTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{network_only.resolve()}/tsfd_net/1/model.onnx is missing: run `make convert`."
    ]


def test_the_server_ends_with_its_parent(empty: Path) -> None:
    with subprocess.Popen(
        [*SERVE, "--repository", empty, *FREE_PORTS], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().startswith("READY")
        assert left_behind(f"tsfd_{process.pid}_")
        process.kill()
    deadline = time.monotonic() + 60
    while left_behind(f"tsfd_{process.pid}_") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_behind(f"tsfd_{process.pid}_") == []


def test_a_server_that_dies_is_reported(empty: Path, tmp_path: Path) -> None:
    with TritonServer(empty, log_path=tmp_path / "log") as server:
        os.kill(server.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while server.ended() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.ended().startswith("The Triton server ended with exit code -9: ")
