"""``python -m serving`` as a process of its own, and what it says of itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psutil

from serving.environment import ROOT

FREE_PORTS = [f"--{name}-port=0" for name in ("grpc", "http", "metrics", "health")]


class Serving:
    """A supervised server, as a context manager.

    Parameters
    ----------
    options
        Of ``serving``.
    wrapper
        Command that it is started by.
    """

    def __init__(self, options: Sequence[str] = (), wrapper: Sequence[str] = ()) -> None:
        command = [*wrapper, sys.executable, "-m", "serving", *FREE_PORTS, *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        ready = self.process.stdout.readline()
        assert ready.startswith("READY"), self.process.communicate()[1]
        self.url = re.search(r"gRPC (\S+)", ready)[1]
        self.metrics_url = re.search(r"metrics (\S+)", ready)[1]
        self.health_url = re.search(r"health (\S+)", ready)[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        with self.process:  # closes its pipes
            try:
                self.process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def health(self) -> tuple[int, dict]:
        """Status and content of the health endpoint."""
        try:
            with urllib.request.urlopen(self.health_url, timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def is_up(self) -> bool:
        return self.health()[0] == 200

    def restarts(self) -> int:
        return self.health()[1]["restarts"]

    def triton(self) -> psutil.Process:
        """The process of Triton itself."""
        (found,) = psutil.Process(self.process.pid).children()
        return found

    def backend(self, model: str) -> psutil.Process:
        """The process of a model's Python backend."""
        (found,) = (
            process
            for process in self.triton().children()
            if any(word.startswith(f"{model}_") for word in process.cmdline())
        )
        return found

    def shared_memory(self) -> set[Path]:
        """Regions of this server's backends."""
        return set(Path("/dev/shm").glob(f"tsfd_{self.process.pid}_*"))

    def end(self) -> str:
        """Stop it; returns what it said of faults. It leaves no shared memory behind."""
        self.process.terminate()
        output, errors = self.process.communicate(timeout=60)
        assert (self.process.returncode, output) == (0, "")
        assert not self.shared_memory()
        first, _, others = errors.partition("\n")
        assert first.startswith("Other users of this machine can read")
        return others
