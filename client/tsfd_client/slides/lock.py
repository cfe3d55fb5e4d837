"""One process at a time works on a run: a lock file whose owner shows that it lives.

The owner touches the file every few seconds. Whoever wants the run watches it: a lock that nobody
has touched for a minute of the watcher's own clock is taken over, one of a dead process on the same
machine at once; what the clocks of two machines say is never compared. An owner that cannot touch
the file any more stops well before that. Two processes that take over at the same moment notice, at
the latest at the next heartbeat; until then they write the same bytes, each file whole.
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
_TOLERATED: Final = 30.0  # without a heartbeat that came through
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
        On entering, if another process holds it, which is known once that has shown that it lives.
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
        mine = self._path.with_name(f".{self._path.name}.{self._token}")
        mine.write_text(content)
        try:
            os.link(mine, self._path)  # appears with its content, unless there is one
        except FileExistsError:
            self._take_over(mine)
        finally:
            mine.unlink(missing_ok=True)
        self._thread = threading.Thread(target=self._beat, name="tsfd-lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # the next one finds it dead
            if self._is_ours():
                self._path.unlink()

    def check(self) -> None:
        """Say whether the run is still this process's.

        Raises
        ------
        LockedError
            If another process has taken it over meanwhile.
        OutputError
            If the lock cannot be kept alive, so that another process may.
        """
        if self._problem:
            raise self._problem

    def _take_over(self, mine: Path) -> None:
        _wait_until_dead(self._path)
        mine.replace(self._path)
        time.sleep(_SETTLES)  # who did the same at the same moment has replaced it by now
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
                        f"Another process has taken over {self._path.parent}: this one stood still "
                        "for more than a minute."
                    )
                    return
                os.utime(self._path)
                came_through = time.monotonic()
            except OSError as error:  # of a shared file system, it may pass
                if time.monotonic() - came_through > _TOLERATED:
                    self._problem = OutputError(
                        f"{self._path} could not be renewed for {_TOLERATED:g} seconds "
                        f"({error.strerror}): stopped, as another process may take over; the same "
                        "command goes on from here."
                    )
                    return


def is_held(path: Path) -> bool:
    """Whether a process seems to hold the lock, by one look and this machine's clock."""
    try:
        owner, (_, touched) = _look(path)
    except OSError:
        return False
    return not _has_ended(owner) and time.time() - touched / 1e9 <= _STALE


def _wait_until_dead(path: Path) -> None:
    """Watch a lock until its owner is known to be dead; LockedError once it is known to live."""
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
                f"{path.parent} is being written by process {owner.get('pid')} on "
                f"{owner.get('host')}: wait for it, or stop it."
            )
        elif time.monotonic() - since > _STALE:
            return
        time.sleep(_LOOKS)


def _look(path: Path) -> tuple[dict[str, object], tuple[bytes, int]]:
    """Who owns a lock, nothing where that cannot be understood, and what a heartbeat changes."""
    with path.open("rb") as file:
        text, touched = file.read(), os.fstat(file.fileno()).st_mtime_ns
    try:
        owner = json.loads(text)
    except ValueError:
        owner = None
    return owner if isinstance(owner, dict) else {}, (text, touched)


def _has_ended(owner: dict[str, object]) -> bool:
    """Whether the owner is a process of this machine that is gone."""
    pid = owner.get("pid")
    here = owner.get("host") == socket.gethostname()
    return here and isinstance(pid, int) and not psutil.pid_exists(pid)
