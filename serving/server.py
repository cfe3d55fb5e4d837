"""Run a Triton server: the ``tritonserver`` binary as a child process.

    with TritonServer("model_repository") as server:
        client = tritonclient.grpc.InferenceServerClient(server.grpc_url)

The binary is that of NVIDIA's container, or the embedded one, whose environment is created by
``python -m serving.environment``. Without a GPU it runs the CPU profile
(``--model-config-name=cpu``). The server has a session of its own, ends with the thread that
started it, and leaves no process and no shared memory behind. Endpoints that control the server
(loading models, logging, tracing) are closed; if other machines can reach it, so is shared memory.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Self

from serving.environment import ROOT
from serving.installation import Installation, ServerError, find

ARTEFACT: Final = Path("tsfd_net/1/model.onnx")
"""The network of the CPU profile; `make convert` installs it into the repository."""

BUCKET: Final = "s3://"
"""Prefix of a repository's address in an S3 bucket, which Triton reads by itself."""

_CONTROL: Final = ("model-repository", "logging", "trace")
_EXIT_SECONDS: Final = 15  # Triton's own time for requests in flight after SIGTERM
_LOAD_FAILURES: Final = (
    r"failed to load '([^']+)' version \d+: (.+)",
    r"Poll failed for model directory '([^']+)': (.+)",
)
_LAUNCHER: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
signal.pthread_sigmask(signal.SIG_SETMASK, ())  # unblock the signals held during the start
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

logger = logging.getLogger(__name__)


class EnvironmentMissingError(ServerError):
    """The server's environment has not been created."""


class ArtefactMissingError(ServerError):
    """The repository lacks the converted network."""


class UnreadableError(ServerError):
    """The server's user cannot read the repository."""


class PortInUseError(ServerError):
    """Another process listens on one of the ports."""


class ModelLoadError(ServerError):
    """A model of the repository cannot be loaded."""


_SWEEPS, _SWEEP_PAUSE = 3, 0.1  # seconds
_DYING_SECONDS: Final = 5.0
_SHOW: Final = 0.2
_SHARED_MEMORY: Final = 128  # MB
_KERNELS: Final = "tsfd-kernels-*"  # the post-processing's copies of the image's kernels


class TritonServer:
    """A running Triton server, as a context manager or between `start` and `stop`.

    Parameters
    ----------
    repository
        Model repository: a folder, or ``s3://BUCKET/PATH`` or ``s3://http://HOST:PORT/BUCKET/PATH``,
        for which Triton takes credentials from the environment (AWS_ACCESS_KEY_ID and so on).
    host
        Address to listen on.
    grpc_port, http_port, metrics_port
        Ports; 0 chooses a free one.
    log_path
        File for the server's log; by default ``build/logs/triton-<http_port>.log``.
    ready_timeout
        Seconds for all models to be loaded.
    traces
        Address of an OpenTelemetry collector (OTLP over HTTP) for the spans of every request.

    Attributes
    ----------
    grpc_url, http_url, metrics_url
        ``host:port`` of gRPC; ``http://...`` addresses of the HTTP endpoint and of the metrics.
    pid
        Process id of ``tritonserver``.
    log_path
        The server's log.
    """

    def __init__(
        self,
        repository: str | Path = ROOT / "model_repository",
        *,
        host: str = "127.0.0.1",
        grpc_port: int = 0,
        http_port: int = 0,
        metrics_port: int = 0,
        log_path: str | Path | None = None,
        ready_timeout: float = 180.0,
        traces: str | None = None,
    ) -> None:
        in_bucket = str(repository).startswith(BUCKET)
        self.repository = str(repository) if in_bucket else Path(repository).resolve()
        self.host = host
        self.ready_timeout = ready_timeout
        self.traces = traces
        self.log_path = Path(log_path) if log_path else None
        self._ports = {"gRPC": grpc_port, "HTTP": http_port, "metrics": metrics_port}
        self._shm_prefix = f"tsfd_{os.getpid()}_{secrets.token_hex(4)}_"
        self._process: subprocess.Popen[bytes] | None = None
        self._has_own_memory = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def grpc_url(self) -> str:
        """Address of the gRPC endpoint, ``host:port``."""
        return f"{self.host}:{self._ports['gRPC']}"

    @property
    def http_url(self) -> str:
        """Address of the HTTP endpoint, ``http://host:port``."""
        return f"http://{self.host}:{self._ports['HTTP']}"

    @property
    def metrics_url(self) -> str:
        """Address of the Prometheus metrics."""
        return f"http://{self.host}:{self._ports['metrics']}/metrics"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise ServerError("The Triton server is not running: call start() first.")
        return self._process.pid

    def start(self) -> None:
        """Start the server and return once all models are ready.

        Raises
        ------
        ServerError
            If the server cannot start, with the reason in one line.
        """
        installation = find()
        if installation is None:
            raise EnvironmentMissingError(
                "The Triton server's environment is missing or out of date: run `make setup`."
            )
        if isinstance(self.repository, Path):
            self._check_repository(self.repository, installation.artefact)
        _check_shared_memory()
        self._has_own_memory = not installation.is_embedded
        self._ports = choose_ports(self.host, self._ports)
        if self.log_path is None:
            logs = ROOT / "build" / "logs" if installation.is_embedded else Path("/tmp")
            self.log_path = logs / f"triton-{self._ports['HTTP']}.log"
        try:
            with self._new_log() as log, _held_signals():
                self._process = subprocess.Popen(
                    self._command(installation),
                    env=installation.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            if not installation.is_embedded:
                threading.Thread(target=self._show_log, args=(self._process,), daemon=True).start()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        logger.info("Triton server %d is ready at %s", self.pid, self.grpc_url)

    def stop(self, *, drain: bool = True) -> None:
        """Stop the server. Does nothing if it is not running.

        Parameters
        ----------
        drain
            Whether to let requests in flight finish. A server that has lost a backend process would
            wait for its requests in vain.
        """
        if self._process is None:
            return
        process, self._process = self._process, None
        try:
            if drain:
                process.terminate()
                process.wait(_EXIT_SECONDS + 5)
        except subprocess.TimeoutExpired:
            logger.warning("Triton server %d did not stop in time and was killed.", process.pid)
        finally:
            # A server killed, or stopped while loading models, leaves backend processes behind.
            _kill_group(process)
            # The region of a backend that was killed during its start may appear a moment later.
            for _ in range(_SWEEPS):
                for leftover in Path("/dev/shm").glob(f"{self._shm_prefix}*"):
                    leftover.unlink(missing_ok=True)
                if self._has_own_memory:
                    for leftover in Path("/dev/shm").glob(_KERNELS):
                        shutil.rmtree(leftover, ignore_errors=True)
                time.sleep(_SWEEP_PAUSE)

    def ended(self) -> str | None:
        """Return why the server has ended by itself, from its log; None if it is running."""
        if self._process is None:
            raise ServerError("The Triton server is not running: call start() first.")
        code = self._process.poll()
        if code is None:
            return None
        return f"The Triton server ended with exit code {code}: {_reason(self._log())}"

    def _check_repository(self, repository: Path, served: Path) -> None:
        if not repository.is_dir():
            raise ArtefactMissingError(f"There is no model repository at {repository}.")
        artefact = repository / served
        try:
            if not artefact.parents[1].is_dir():
                return
            artefact.open("rb").close()
        except FileNotFoundError as error:
            raise ArtefactMissingError(f"{artefact} is missing: run `make convert`.") from error
        except PermissionError as error:
            raise UnreadableError(
                f"The server's user {os.getuid()} is not allowed to read {error.filename}: "
                "chmod -R a+rX the model repository."
            ) from error

    def _new_log(self) -> BinaryIO:
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            if self.log_path.is_file():  # after a restart, the previous log says why
                self.log_path.replace(self.log_path.with_suffix(".previous.log"))
            return self.log_path.open("wb")
        except OSError as error:
            raise ServerError(
                f"Cannot write the server's log {self.log_path} ({error.strerror}); a container "
                "whose root is read-only needs --tmpfs=/tmp."
            ) from error

    def _restricted(self) -> str:
        """Lock protocols behind a header that nobody can send, because it contains a newline."""
        protocols = _CONTROL if is_loopback(self.host) else (*_CONTROL, "shared-memory")
        return f"{','.join(protocols)}:locked={secrets.token_hex(16)}\n"

    def _command(self, installation: Installation) -> list[str]:
        options = {
            "model-repository": self.repository,
            "grpc-address": self.host,
            "grpc-port": self._ports["gRPC"],
            "http-address": self.host,
            "http-port": self._ports["HTTP"],
            "metrics-address": self.host,
            "metrics-port": self._ports["metrics"],
            "grpc-restricted-protocol": self._restricted(),
            "http-restricted-api": self._restricted(),
            "exit-timeout-secs": _EXIT_SECONDS,
            "backend-config": f"python,shm-region-prefix-name={self._shm_prefix}",
        }
        # A launcher instead of preexec_fn, which is unsafe in a process with threads.
        launcher = [installation.python, "-c", _LAUNCHER, str(os.getpid())]
        server = [*installation.command, "--disable-auto-complete-config"]
        return [
            *(launcher + server),
            *(f"--{name}={value}" for name, value in options.items()),
            *(f"--trace-config={setting}" for setting in self._tracing()),
        ]

    def _tracing(self) -> list[str]:
        if self.traces is None:
            return []
        return [
            "mode=opentelemetry",
            "level=TIMESTAMPS",
            "rate=1",
            f"opentelemetry,url={self.traces}",
            "opentelemetry,resource=service.name=tsfd-triton",
        ]

    def _wait_until_ready(self) -> None:
        """Poll over HTTP, because a gRPC channel waits a second between attempts."""
        deadline = time.monotonic() + self.ready_timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._startup_error()
            if _answers_ready(self.host, self._ports["HTTP"]):
                return
            time.sleep(0.05)
        raise ServerError(
            f"The Triton server was not ready within {self.ready_timeout:g} s; its log is "
            f"{self.log_path}."
        )

    def _startup_error(self) -> ServerError:
        log = self._log()
        taken = re.search(r"Socket '([^']+)' already in use", log)
        if taken:
            return PortInUseError(f"{taken[1]} is in use: choose another port.")
        if "repository path is not a valid directory" in log:
            return ArtefactMissingError(f"There is no model repository at {self.repository}.")
        for pattern in _LOAD_FAILURES:
            failed = re.search(pattern, log)
            if failed:
                misspelt = re.search(r"text-format inference.ModelConfig: (.+)", log)
                reason = _one_line(failed[2]) + (f" ({misspelt[1]})" if misspelt else "")
                return ModelLoadError(f"The model {failed[1]} cannot be loaded: {reason}")
        return ServerError(f"The Triton server did not start: {_reason(log)}")

    def _show_log(self, process: subprocess.Popen[bytes]) -> None:
        """Copy the log to stderr, where users look for a container's log."""
        with self.log_path.open("rb") as log:
            while process.poll() is None:
                shutil.copyfileobj(log, sys.stderr.buffer)
                sys.stderr.flush()
                time.sleep(_SHOW)
            shutil.copyfileobj(log, sys.stderr.buffer)

    def _log(self) -> str:
        return self.log_path.read_text(errors="replace")


def _check_shared_memory() -> None:
    """Refuse too little shared memory: Docker's default of 64 MB would fail only under load."""
    found = shutil.disk_usage("/dev/shm").total >> 20
    if found < _SHARED_MEMORY:
        raise ServerError(
            f"Shared memory (/dev/shm) has {found} MB, but the models need at least "
            f"{_SHARED_MEMORY}: start the container with --shm-size=2g."
        )


@contextlib.contextmanager
def _held_signals() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM, so that a server being started is known and can be stopped."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill_group(leader: subprocess.Popen[bytes]) -> None:
    """Kill a process group and wait until it is gone, which takes a while on a busy machine."""
    deadline = time.monotonic() + _DYING_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(leader.pid, signal.SIGKILL)
            leader.wait()
            with contextlib.suppress(
                ChildProcessError
            ):  # process 1 of a container inherits orphans
                os.waitpid(-leader.pid, os.WNOHANG)
            time.sleep(0.02)


def choose_ports(host: str, wanted: dict[str, int]) -> dict[str, int]:
    """Return the ports with each 0 replaced by a distinct free port."""
    ports = {}
    with contextlib.ExitStack() as held:
        for name, port in wanted.items():
            listener = held.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
            except OSError as error:
                raise PortInUseError(
                    f"Cannot listen on {host}:{port} ({name}): {error.strerror}; choose another "
                    "address or port."
                ) from error
            ports[name] = listener.getsockname()[1]
    return ports


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _answers_ready(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/v2/health/ready", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reason(log: str) -> str:
    """Return the last error of a Triton log in one line, without its time stamp."""
    errors = re.findall(r"^(?:E\d{4} \S+ \d+ \S+\] |error: )(.+)$", log, re.MULTILINE)
    lines = errors or log.strip().splitlines() or ["it left no log"]
    return _one_line(lines[-1])


def _one_line(reason: str) -> str:
    """Strip quotes, error kinds and tracebacks that Triton adds to a reason."""
    reason = reason.strip().strip('"').split("\\n\\nAt:")[0].replace("\\n", " ")
    return reason.removeprefix("Internal: ").removeprefix("TritonModelException: ")
