"""One process at a time works on a run: a lock file whose owner shows that it lives.

The owner touches the file every few seconds. A lock that nobody has touched for a minute is taken
over, one of a dead process on the same machine at once. Two processes that take over at the same
moment notice, at the latest at the next heartbeat; until then they write the same bytes, each file
whole.
"""

from __future__ import annotations

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
        On entering, if another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = secrets.token_hex(8)
        self._ended = threading.Event()
        self.lost = False

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
        if self._is_ours():
            self._path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise LockedError if another process has taken the run over meanwhile."""
        if self.lost:
            raise LockedError(
                f"Another process has taken over {self._path.parent}: this one stood still for "
                "more than a minute."
            )

    def _take_over(self, mine: Path) -> None:
        owner = _owner(self._path)
        if owner and not _is_dead(self._path, owner):
            raise LockedError(
                f"{self._path.parent} is being written by process {owner['pid']} on "
                f"{owner['host']}: wait for it, or stop it."
            )
        mine.replace(self._path)
        time.sleep(_SETTLES)  # who did the same at the same moment has replaced it by now
        if not self._is_ours():
            raise LockedError(f"{self._path.parent} was just taken over by another process.")

    def _is_ours(self) -> bool:
        owner = _owner(self._path)
        return owner is not None and owner.get("token") == self._token

    def _beat(self) -> None:
        while not self._ended.wait(_HEARTBEAT):
            if not self._is_ours():
                self.lost = True
                return
            os.utime(self._path)


def is_held(path: Path) -> bool:
    """Whether a process that lives holds the lock."""
    owner = _owner(path)
    return owner is not None and not _is_dead(path, owner)


def _owner(path: Path) -> dict[str, object] | None:
    try:
        owner = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) and {"host", "pid"} <= owner.keys() else None


def _is_dead(path: Path, owner: dict[str, object]) -> bool:
    if owner["host"] == socket.gethostname() and not psutil.pid_exists(int(str(owner["pid"]))):
        return True
    try:
        return time.time() - path.stat().st_mtime > _STALE
    except FileNotFoundError:
        return True
