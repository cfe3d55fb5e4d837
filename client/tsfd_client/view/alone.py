"""One at a time changes a file that several `tsfd view` write, also those of different machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final

try:
    import fcntl
except ImportError:  # on Windows
    _flock = None
else:
    _flock = fcntl.flock

_threads: Final = Lock()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until nobody else who does the same changes a file, and keep them waiting meanwhile.

    The lock is a hidden file beside it, which stays. Where it cannot be made, or the file system
    knows no locks, only threads of this process wait for each other.
    """
    with _threads, ExitStack() as held:
        lock = path.with_name(f".{path.name}.lock")
        with suppress(OSError):
            file = held.enter_context(lock.open("a"))
            with suppress(OSError):  # it is another user's
                lock.chmod(path.parent.stat().st_mode & 0o666)  # whoever may write here may lock
            if _flock:
                _flock(file, fcntl.LOCK_EX)
        yield
