"""A lock file with a heartbeat: only one process at a time works on a run.

The owner touches the file every few seconds. Another process that wants the run watches the file
and takes over a lock that has not been touched for a minute by its own clock; the clocks of two
machines are never compared. The lock of a dead process on the same machine is taken over at once.
An owner that can no longer touch the file stops well before the minute is over. Two processes that
take over at the same moment notice by the next heartbeat; until then they write identical files,
each of them atomically.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Final, Self

import psutil

from tsfd_client.errors import OutputError

_HEARTBEAT: Final = 5.0  # seconds
_STALE: Final = 60.0
_TOLERATED: Final = 30.0  # longest time without a successful heartbeat
_LOOKS: Final = 0.5
_SETTLES: Final = 0.1


class LockedError(OutputError):
    """Another process works on the run."""


class Lock:
    """A lock on a folder, as a context manager.

    Parameters
    ----------
    path
        The lock file.

    Raises
    ------
    LockedError
        On entering, if another process holds the lock, as soon as its next heartbeat is seen.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = secrets.token_hex(8)
        self._ended = threading.Event()
        self._problem: OutputError | None = None

    def __enter__(self) -> Self:
        content = json.dumps(
            {"host": socket.gethostname(), "pid": os.getpid(), "token": self._token}
        )
        try:
            with self._path.open("x") as file:
                file.write(content)
        except FileExistsError:
            self._take_over(content)
        except OSError:  # such as a full disk
            with contextlib.suppress(OSError):
                self._path.unlink()
            raise
        self._thread = threading.Thread(target=self._beat, name="tsfd-lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # the next process will find this one dead
            if self._is_ours():
                self._path.unlink()

    def check(self) -> None:
        """Raise if this process may no longer work on the run.

        Raises
        ------
        LockedError
            If another process has taken over the run.
        OutputError
            If the lock cannot be kept alive, so that another process may take over.
        """
        if self._problem:
            raise self._problem

    def _take_over(self, content: str) -> None:
        _wait_until_dead(self._path)
        mine = self._path.with_name(f".{self._path.name}.{self._token}")
        try:
            mine.write_text(content)
            mine.replace(self._path)
        finally:
            mine.unlink(missing_ok=True)
        time.sleep(_SETTLES)  # a process that did the same at the same moment is done by now
        if not self._is_ours():
            raise LockedError(f"{self._path.parent} was just taken over by another process.")

    def _is_ours(self) -> bool:
        return _look(self._path)[0].get("token") == self._token

    def _beat(self) -> None:
        came_through = time.monotonic()
        while not self._ended.wait(_HEARTBEAT):
            try:
                if not self._is_ours():
                    self._problem = LockedError(
                        f"Another process has taken over {self._path.parent}, because this one "
                        "was suspended for more than a minute."
                    )
                    return
                os.utime(self._path)
                came_through = time.monotonic()
            except OSError as error:  # may pass, on a shared file system
                if time.monotonic() - came_through > _TOLERATED:
                    self._problem = OutputError(
                        f"{self._path} could not be renewed for {_TOLERATED:g} seconds "
                        f"({error.strerror}): stopped, as another process may take over. Run the "
                        "same command again to resume."
                    )
                    return


def is_held(path: Path) -> bool:
    """Whether a process seems to hold the lock, judged once and by this machine's clock."""
    try:
        owner, (_, touched) = _look(path)
    except OSError:
        return False
    return not _has_ended(owner) and time.time() - touched / 1e9 <= _STALE


def _wait_until_dead(path: Path) -> None:
    """Watch a lock until its owner must be dead; raise LockedError if it shows a heartbeat."""
    seen, since = None, 0.0
    while True:
        try:
            owner, heartbeat = _look(path)
        except FileNotFoundError:
            return
        if _has_ended(owner):
            return
        if seen is None:
            seen, since = heartbeat, time.monotonic()
        elif heartbeat != seen:
            raise LockedError(
                f"{path.parent} is in use by process {owner.get('pid')} on {owner.get('host')}: "
                "wait for it to finish, or stop it."
            )
        elif time.monotonic() - since > _STALE:
            return
        time.sleep(_LOOKS)


def _look(path: Path) -> tuple[dict[str, object], tuple[bytes, int]]:
    """Read the owner of a lock, empty if unreadable, and a value that every heartbeat changes."""
    with path.open("rb") as file:
        text, touched = file.read(), os.fstat(file.fileno()).st_mtime_ns
    try:
        owner = json.loads(text)
    except ValueError:
        owner = None
    return owner if isinstance(owner, dict) else {}, (text, touched)


def _has_ended(owner: dict[str, object]) -> bool:
    """Whether the owner is a process of this machine that no longer exists."""
    pid = owner.get("pid")
    here = owner.get("host") == socket.gethostname()
    return here and isinstance(pid, int) and not psutil.pid_exists(pid)
