"""The embedded Triton server: the real ``tritonserver`` binary as a child process.

    with TritonServer("model_repository") as server:
        client = tritonclient.grpc.InferenceServerClient(server.grpc_url)

The server runs the CPU profile (``--model-config-name=cpu``): the wheel it comes from holds no
TensorRT backend. It lives in a session of its own, ends with the thread that started it, and leaves
no process and no shared memory behind. ``python -m deploy.setup`` creates its environment.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from deploy.setup import ROOT, TritonEnvironment, find_environment

PROFILE: Final = "cpu"
ARTEFACT: Final = Path("tsfd_net/1/model.onnx")
"""What the CPU profile serves; `make convert` installs it into the repository."""

_EXIT_SECONDS: Final = 15  # Triton's own time for requests in flight after SIGTERM
_LOAD_FAILURES: Final = (
    r"failed to load '([^']+)' version \d+: (.+)",
    r"Poll failed for model directory '([^']+)': (.+)",
)
_LAUNCHER: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
signal.pthread_sigmask(signal.SIG_SETMASK, ())  # those held while it was started
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

logger = logging.getLogger(__name__)


class ServerError(RuntimeError):
    """The server cannot start; the message is one line that says why and what to do."""


class EnvironmentMissingError(ServerError):
    """The server's environment has not been created."""


class ArtefactMissingError(ServerError):
    """The repository lacks the converted network."""


class PortInUseError(ServerError):
    """Another process listens on one of the ports."""


class ModelLoadError(ServerError):
    """A model of the repository does not load."""


_SWEEPS, _SWEEP_PAUSE = 3, 0.1  # seconds
_DYING_SECONDS: Final = 5.0


class TritonServer:
    """A running Triton server, as a context manager or between `start` and `stop`.

    Parameters
    ----------
    repository
        Model repository.
    host
        Address to listen on.
    grpc_port, http_port, metrics_port
        Ports; 0 chooses a free one.
    log_path
        File for the server's log; by default ``build/logs/triton-<http_port>.log``.
    ready_timeout
        Seconds until all models must be loaded.

    Attributes
    ----------
    grpc_url, http_url, metrics_url
        ``host:port`` of gRPC; ``http://...`` of the HTTP endpoint and of the metrics.
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
    ) -> None:
        self.repository = Path(repository).resolve()
        self.host = host
        self.ready_timeout = ready_timeout
        self.log_path = Path(log_path) if log_path else None
        self._ports = {"gRPC": grpc_port, "HTTP": http_port, "metrics": metrics_port}
        self._shm_prefix = f"tsfd_{os.getpid()}_{secrets.token_hex(4)}_"
        self._process: subprocess.Popen[bytes] | None = None

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
            One of its kinds, with the reason in one line.
        """
        environment = find_environment()
        if environment is None:
            raise EnvironmentMissingError(
                "The Triton server's environment is missing or out of date: run `make setup`."
            )
        self._check_repository()
        self._ports = _choose_ports(self.host, self._ports)
        if self.log_path is None:
            self.log_path = ROOT / "build" / "logs" / f"triton-{self._ports['HTTP']}.log"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if self.log_path.is_file():  # that of a server that was restarted says why
                self.log_path.replace(self.log_path.with_suffix(".previous.log"))
            with self.log_path.open("wb") as log, _held_signals():
                self._process = subprocess.Popen(
                    self._command(environment),
                    env=_child_environment(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
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
            Whether requests in flight finish. A server that has lost a backend process would wait
            for theirs in vain.
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
            # A server that is killed, or stopped while models load, leaves its backend processes.
            _kill_group(process)
            # A backend that was killed while it started may create its region a moment later.
            for _ in range(_SWEEPS):
                for leftover in Path("/dev/shm").glob(f"{self._shm_prefix}*"):
                    leftover.unlink(missing_ok=True)
                time.sleep(_SWEEP_PAUSE)

    def ended(self) -> str | None:
        """Why the server has ended by itself, from the last error of its log; None if it runs."""
        if self._process is None:
            raise ServerError("The Triton server is not running: call start() first.")
        code = self._process.poll()
        if code is None:
            return None
        return f"The Triton server ended with exit code {code}: {_reason(self._log())}"

    def _check_repository(self) -> None:
        if not self.repository.is_dir():
            raise ArtefactMissingError(f"There is no model repository at {self.repository}.")
        artefact = self.repository / ARTEFACT
        if artefact.parents[1].is_dir() and not artefact.is_file():
            raise ArtefactMissingError(f"{artefact} is missing: run `make convert`.")

    def _command(self, environment: TritonEnvironment) -> list[str]:
        triton = environment.triton
        options = {
            "model-repository": self.repository,
            "model-config-name": PROFILE,
            "backend-directory": triton / "backends",
            "cache-directory": triton / "caches",
            "grpc-address": self.host,
            "grpc-port": self._ports["gRPC"],
            "http-address": self.host,
            "http-port": self._ports["HTTP"],
            "metrics-address": self.host,
            "metrics-port": self._ports["metrics"],
            "allow-gpu-metrics": "false",
            "pinned-memory-pool-byte-size": 0,
            "exit-timeout-secs": _EXIT_SECONDS,
            "backend-config": f"python,shm-region-prefix-name={self._shm_prefix}",
        }
        # A launcher rather than preexec_fn, which is unsafe in a process that has threads.
        launcher = [str(environment.bin / "python"), "-c", _LAUNCHER, str(os.getpid())]
        server = [str(triton / "bin" / "tritonserver"), "--disable-auto-complete-config"]
        return launcher + server + [f"--{name}={value}" for name, value in options.items()]

    def _wait_until_ready(self) -> None:
        """Ask over HTTP: a gRPC channel would wait a second between its attempts."""
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
        for pattern in _LOAD_FAILURES:
            failed = re.search(pattern, log)
            if failed:
                misspelt = re.search(r"text-format inference.ModelConfig: (.+)", log)
                reason = _one_line(failed[2]) + (f" ({misspelt[1]})" if misspelt else "")
                return ModelLoadError(f"The model {failed[1]} does not load: {reason}")
        return ServerError(f"The Triton server did not start: {_reason(log)}")

    def _log(self) -> str:
        return self.log_path.read_text(errors="replace")


@contextlib.contextmanager
def _held_signals() -> Iterator[None]:
    """Hear of Ctrl-C and SIGTERM afterwards: a server just started must be known, to be stopped."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill_group(leader: subprocess.Popen[bytes]) -> None:
    """Kill a group of processes and wait until it is gone, which takes a busy machine a while."""
    deadline = time.monotonic() + _DYING_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(leader.pid, signal.SIGKILL)
            leader.wait()
            time.sleep(0.02)


def _choose_ports(host: str, wanted: dict[str, int]) -> dict[str, int]:
    """Return the ports with each 0 replaced by a free one; all are distinct."""
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


def _child_environment(environment: TritonEnvironment) -> dict[str, str]:
    inherited = dict(os.environ)
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        inherited.pop(name, None)
    search_path = os.environ.get("LD_LIBRARY_PATH", "")
    return inherited | {
        # The backend embeds the Python that it finds first on PATH.
        "PATH": f"{environment.bin}:{os.environ.get('PATH', '')}",
        "LD_LIBRARY_PATH": f"{environment.library_directory}:{search_path}".rstrip(":"),
        # Kernels compiled under this numpy stay apart from those of the main environment.
        "NUMBA_CACHE_DIR": str(Path(environment.path) / "numba-cache"),
    }


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
    """Return the last error of a Triton log without its time stamp, in one line."""
    errors = re.findall(r"^(?:E\d{4} \S+ \d+ \S+\] |error: )(.+)$", log, re.MULTILINE)
    lines = errors or log.strip().splitlines() or ["it left no log"]
    return _one_line(lines[-1])


def _one_line(reason: str) -> str:
    """Strip what Triton puts around and behind a reason: quotes, error kinds, a traceback."""
    reason = reason.strip().strip('"').split("\\n\\nAt:")[0].replace("\\n", " ")
    return reason.removeprefix("Internal: ").removeprefix("TritonModelException: ")
