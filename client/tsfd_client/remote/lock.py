"""A lock on a file, which the system lets go when its process ends, however it ends."""

from __future__ import annotations

import os
from io import TextIOWrapper
from pathlib import Path

from tsfd_client.errors import OutputError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]


class Lock:
    """A lock that many share, or one has alone.

    Parameters
    ----------
    path
        Its file, which is made if there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIOWrapper | None = None

    def take(self, *, shared: bool, wait: bool = True) -> bool:
        """Take the lock, or change the one that is held; return whether it is held.

        Parameters
        ----------
        wait
            Whether to wait for others.

        Raises
        ------
        OutputError
            If this system knows no locks.
        OSError
            If the file cannot be made, or its file system knows no locks.
        """
        if fcntl is None:
            raise OutputError("Slides on stores need Linux or macOS: fetch them by other means.")
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        while True:
            if self._file is None:
                self._file = self._path.open("a+")
            try:
                fcntl.flock(self._file, kind | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                self.drop()
                return False
            if self._is_current(self._file.fileno()):
                if not shared:
                    self._file.truncate(0)
                    print(os.getpid(), file=self._file, flush=True)
                return True
            self.drop()

    def is_of_this_process(self) -> bool:
        """Whether another thread of this process was the last to have the lock alone."""
        try:
            return self._path.read_text().strip() == str(os.getpid())
        except FileNotFoundError:  # removed just now
            return False

    def drop(self) -> None:
        """Let the lock go."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def remove(self) -> None:
        """Remove the file of a lock that is held alone, and let it go."""
        self._path.unlink(missing_ok=True)
        self.drop()

    def _is_current(self, opened: int) -> bool:
        """Whether the file has not been removed while this process waited for it."""
        try:
            return os.path.samestat(os.fstat(opened), self._path.stat())
        except FileNotFoundError:
            return False
