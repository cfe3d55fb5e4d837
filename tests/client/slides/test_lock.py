"""Two processes never write one run, and a dead one leaves it to the next."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tsfd_client.slides.lock import Lock, LockedError

HOLD = """
import sys
from pathlib import Path
from tsfd_client.slides.lock import Lock

with Lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(path: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_run_that_is_being_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as other:
        with pytest.raises(LockedError) as caught, Lock(path):
            pass
        assert str(caught.value) == (
            f"{tmp_path} is being written by process {other.pid} on {socket.gethostname()}: wait "
            "for it, or stop it."
        )
        other.stdin.close()
    with Lock(path):  # it ended, and took its lock along
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_the_run_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as other:
        other.kill()
    assert path.exists()
    with Lock(path) as lock:
        lock.check()
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("age", "taken"), [(50, False), (70, True)])
def test_a_lock_of_another_machine_counts_for_a_minute(
    tmp_path: Path, age: int, taken: bool
) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "x"}))
    os.utime(path, (time.time() - age,) * 2)
    if taken:
        with Lock(path):
            pass
    else:
        with pytest.raises(LockedError, match="process 1 on elsewhere"), Lock(path):
            pass
