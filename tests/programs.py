"""Programs that tests run beside their own process: Debian's, and the project's."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable

import pytest

from serving.server import choose_ports

PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "chromium": "chromium",
    "docker-registry": "docker-registry",
    "envsubst": "gettext-base",
    "gcc": "gcc",
    "haproxy": "haproxy",
    "nginx": "nginx",
    "openssl": "openssl",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
}


def need(program: str) -> str:
    """The path of a program; skips the test where it is not installed, which `.ci/run` does."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if path is None:
        pytest.skip(f"{program} is missing: apt-get install {PACKAGES[program]}")
    return path


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    return choose_ports("127.0.0.1", {"": 0})[""]


def answers(address: str) -> bool:
    """Whether a page is answered."""
    try:
        urllib.request.urlopen(address).close()
    except OSError:
        return False
    return True


def until(condition: Callable[[], object], seconds: float = 60) -> float:
    """Wait for something; returns how many seconds it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() < begin + seconds, "it did not happen"
        time.sleep(0.02)
    return time.monotonic() - begin


def stop_once(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Let a program run in short stretches until something holds, then leave it stopped.

    What it does next cannot outrun the test on a machine that has other work.
    """
    while not condition():
        assert process.poll() is None, "it ended first"
        process.send_signal(signal.SIGCONT)
        time.sleep(random.uniform(0, 0.04))
        process.send_signal(signal.SIGSTOP)
