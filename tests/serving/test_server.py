"""The embedded server: starts, stops, leaves nothing behind, and explains what went wrong."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
import tritonclient.grpc as triton

from serving import server as serving_server
from serving.environment import ROOT
from serving.server import (
    ArtefactMissingError,
    EnvironmentMissingError,
    ModelLoadError,
    PortInUseError,
    ServerError,
    TritonServer,
)

SERVE = [sys.executable, "-m", "serving"]
FREE_PORTS = [f"--{name}-port=0" for name in ("grpc", "http", "metrics", "health")]


@pytest.fixture
def network_only(repository: Path, tmp_path: Path) -> Path:
    """A repository that holds the network alone, without its artefact."""
    source = repository / "tsfd_net"
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


def test_the_bill_of_materials_names_its_version(server: TritonServer) -> None:
    """Which no package says."""
    bill = (ROOT / "deploy/sbom.py").read_text()
    with triton.InferenceServerClient(server.grpc_url) as connection:
        assert f'TRITON: Final = "{connection.get_server_metadata().version}"' in bill


CONTROL = {
    "v2/repository/index": "get_model_repository_index",
    "v2/logging": "get_log_settings",
    "v2/trace/setting": "get_trace_settings",
}
LOCAL = {
    "v2/systemsharedmemory/status": "get_system_shared_memory_status",
    "v2/cudasharedmemory/status": "get_cuda_shared_memory_status",
}


@pytest.mark.parametrize(
    ("host", "refused"), [("127.0.0.1", CONTROL), ("0.0.0.0", CONTROL | LOCAL)]
)
def test_nobody_controls_it_from_outside(
    empty: Path, tmp_path: Path, host: str, refused: dict[str, str]
) -> None:
    """Shared memory is for clients on its machine."""
    closed = {}
    with (
        TritonServer(empty, host=host, log_path=tmp_path / "log") as server,
        triton.InferenceServerClient(server.grpc_url) as connection,
    ):
        for path, call in (CONTROL | LOCAL).items():
            with contextlib.suppress(triton.InferenceServerException):
                getattr(connection, call)()
                continue
            body = b"" if path.endswith("index") else None  # which is asked by POST
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(f"{server.http_url}/{path}", body)
            closed[path] = call
    assert closed == refused


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


@pytest.mark.parametrize("closed", ["tsfd_net", "tsfd_net/1/model.onnx"])
def test_a_repository_that_its_user_must_not_read(network_only: Path, closed: str) -> None:
    """As a container's user, who is not the one that owns the repository."""
    (network_only / "tsfd_net/1/model.onnx").touch()
    (network_only / closed).chmod(0)
    user = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if not os.geteuid() else []
    result = serve("--repository", network_only, wrapper=user)
    (network_only / closed).chmod(0o700)  # pytest removes it
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(
        rf"The server's user \d+ is not allowed to read {network_only.resolve()}/tsfd_net\S*: "
        "chmod -R a\\+rX the model repository.\n",
        result.stderr,
    )


def test_a_log_that_cannot_be_written(empty: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError) as caught:
        TritonServer(empty, log_path=tmp_path / "file/log").start()
    assert str(caught.value) == (
        f"Cannot write the server's log {tmp_path}/file/log (File exists); a container whose root "
        "is read-only needs --tmpfs=/tmp."
    )


def test_missing_environment(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_server, "find", lambda: None)
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
        "The model tsfd_net cannot be loaded: OpenVINO cannot read model.onnx: run `make convert` "
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
        f"The model tsfd_net cannot be loaded: failed to read text proto from {config.resolve()} "
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
    assert (process.returncode, output) == (0, "")
    assert re.fullmatch("Other users of this machine can read the tiles .*\n", errors)
    assert left_behind(f"tsfd_{process.pid}_") == []


def serve(*options: str | Path, wrapper: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [*wrapper, *SERVE, *FREE_PORTS, *options]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_serve_is_for_this_machine(network_only: Path) -> None:
    result = serve("--host=0.0.0.0")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "Other machines would reach 0.0.0.0, and Triton 2.51 lacks the fixes of 57 published "
        "vulnerabilities, among them the takeover of the server (CVE-2025-23319, 23320, 23334): "
        "stay on 127.0.0.1 behind deploy/gateway, or add --despite-known-vulnerabilities.\n"
    )
    # Who insists comes to what is wrong next.
    insisting = serve(
        "--host=0.0.0.0", "--despite-known-vulnerabilities", "--repository", network_only
    )
    assert insisting.stderr.endswith(" is missing: run `make convert`.\n")


def test_serve_stops_while_models_load(repository: Path) -> None:
    with subprocess.Popen([*SERVE, "--repository", repository, *FREE_PORTS], cwd=ROOT) as process:
        deadline = time.monotonic() + 60
        while not left_behind(f"tsfd_{process.pid}_") and time.monotonic() < deadline:
            time.sleep(0.02)
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert left_behind(f"tsfd_{process.pid}_") == []


def test_serve_fails_with_one_line(network_only: Path) -> None:
    result = serve("--repository", network_only)
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


def test_a_container_s_first_process_keeps_no_dead_backends(repository: Path) -> None:
    """Orphans become its children."""
    script = """
import ctypes, os, sys
from serving.server import TritonServer
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
server = TritonServer(sys.argv[1])
server.start()
server.stop(drain=False)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("none")
"""
    command = [sys.executable, "-c", script, str(repository)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("none\n", "")
