"""Two processes never write one run, and a dead one leaves it to the next."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from programs import until

from tsfd_client.errors import OutputError
from tsfd_client.slides import lock as locking
from tsfd_client.slides.lock import Lock, LockedError

HOLD = """
import sys
from pathlib import Path
from tsfd_client.slides import lock
from tsfd_client.slides.lock import Lock

lock._HEARTBEAT = 0.05
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
            f"{tmp_path} is in use by process {other.pid} on {socket.gethostname()}: wait for it "
            "to finish, or stop it."
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


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A lock of another machine."""
    path = tmp_path / "lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "x"}))
    return path


@pytest.mark.parametrize("ahead", [-3600, 0, 3600], ids=["behind", "equal", "ahead"])
def test_another_machine_that_lives_keeps_its_lock_whatever_the_clocks_say(
    elsewhere: Path, ahead: int
) -> None:
    """By how much this machine's clock is ahead of what touches the file."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.05):
            os.utime(elsewhere, (time.time() - ahead,) * 2)

    os.utime(elsewhere, (time.time() - ahead,) * 2)
    owner = threading.Thread(target=beat)
    owner.start()
    try:
        with pytest.raises(LockedError, match="by process 1 on elsewhere"), Lock(elsewhere):
            pass
    finally:
        ended.set()
        owner.join()


@pytest.mark.parametrize("ahead", [-3600, 3600], ids=["behind", "ahead"])
def test_a_lock_that_is_not_touched_while_it_is_watched_is_taken_over(
    elsewhere: Path, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "_STALE", 0.2)
    monkeypatch.setattr(locking, "_LOOKS", 0.05)
    os.utime(elsewhere, (time.time() - ahead,) * 2)
    with Lock(elsewhere):
        assert json.loads(elsewhere.read_text())["pid"] == os.getpid()


def heartbeats(path: Path, count: int) -> None:
    """Wait for some more."""
    for _ in range(count):
        before = path.stat().st_mtime_ns
        until(lambda before=before: path.stat().st_mtime_ns != before)


def test_a_read_that_fails_once_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "_HEARTBEAT", 0.02)
    path = tmp_path / "lock"
    with Lock(path) as lock:
        heartbeats(path, 1)
        path.rename(tmp_path / "away")
        time.sleep(0.1)
        (tmp_path / "away").rename(path)
        heartbeats(path, 2)
        lock.check()
    assert not path.exists()


def test_a_touch_that_fails_once_does_not_end_the_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "_HEARTBEAT", 0.02)
    path = tmp_path / "lock"
    touch, failures = os.utime, [OSError(errno.ESTALE, "Stale file handle")]

    def fail_first(*arguments: object) -> None:
        if failures:
            raise failures.pop()
        touch(*arguments)

    monkeypatch.setattr(os, "utime", fail_first)
    with Lock(path) as lock:
        heartbeats(path, 2)
        lock.check()
    assert not failures


def test_a_lock_that_cannot_be_kept_alive_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as a run of another process: that would count as no failure."""
    monkeypatch.setattr(locking, "_HEARTBEAT", 0.02)
    monkeypatch.setattr(locking, "_TOLERATED", 0.1)
    path = tmp_path / "lock"

    def problem() -> OutputError | None:
        try:
            lock.check()
        except OutputError as error:
            return error
        return None

    with Lock(path) as lock:
        path.unlink()
        until(problem)
        assert not isinstance(problem(), LockedError)
        assert str(problem()) == (
            f"{path} could not be renewed for 0.1 seconds (No such file or directory): stopped, as "
            "another process may take over. Run the same command again to resume."
        )


def test_a_run_that_was_taken_over_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "_HEARTBEAT", 0.02)
    path = tmp_path / "lock"
    other = json.dumps({"host": "elsewhere", "pid": 1, "token": "x"})
    with Lock(path) as lock:
        (tmp_path / "other").write_text(other)
        (tmp_path / "other").replace(path)
        with pytest.raises(LockedError, match="Another process has taken over"):
            until(lambda: lock.check())
    assert path.read_text() == other
