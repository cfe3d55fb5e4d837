"""A slide in the cache's folder.

    KEY.lock    held by those who use the slide, or alone by the one that fetches or removes it;
                its time is that of the last use
    KEY.part    what has come of it
    KEY/NAME    the slide, complete

KEY stands for an address and the version of its content, so that a slide that has changed on its
store never takes the place of one that is in use.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tsfd_client.remote.address import Address
from tsfd_client.remote.lock import Lock
from tsfd_client.remote.trouble import LOG

_LOCK: Final = re.compile(r"[0-9a-f]{16}\.lock")


@dataclass(frozen=True)
class Entry:
    """A slide, of which there may be nothing yet.

    Attributes
    ----------
    place
        Its files' path, without what tells them apart.
    lock
        Its lock, which this object may hold.
    """

    place: Path
    lock: Lock

    @classmethod
    def of(cls, folder: Path, address: Address, version: str | None) -> Self:
        """The entry of a version of a slide; without a version, a new one that nobody else has."""
        content = secrets.token_hex() if version is None else version
        key = hashlib.sha256(f"{address}\n{content}".encode("utf-8", "surrogateescape"))
        return cls._at(folder / key.hexdigest()[:16])

    @classmethod
    def all_in(cls, folder: Path) -> list[Self]:
        """All entries, the least recently used first; nothing else in the folder is touched."""
        locks = [path for path in folder.iterdir() if _LOCK.fullmatch(path.name)]
        return [cls._at(path.with_suffix("")) for path in sorted(locks, key=_time)]

    @classmethod
    def _at(cls, place: Path) -> Self:
        return cls(place, Lock(place.with_suffix(".lock")))

    @property
    def partial(self) -> Path:
        """Receives what comes."""
        return self.place.with_suffix(".part")

    @property
    def used(self) -> float:
        """Time of the last use, seconds."""
        return _time(self.place.with_suffix(".lock"))

    @property
    def size(self) -> int:
        """Bytes."""
        files = [self.partial, *(self.place.iterdir() if self.place.is_dir() else ())]
        return sum(path.stat().st_size for path in files if path.is_file())

    @property
    def is_complete(self) -> bool:
        """Whether the slide is here."""
        return self.place.is_dir()

    def lend(self, what: Address) -> bool:
        """Share the lock if the slide is here, so that it stays; return whether it is."""
        if not self.lock.take(shared=True, wait=False):
            if not self.lock.is_of_this_process():  # whose thread shows its progress
                LOG.warning("Waiting for %s, which another process fetches.", what)
            self.lock.take(shared=True)
        if self.is_complete:
            os.utime(self.place.with_suffix(".lock"))
        return self.is_complete

    def complete(self, name: str) -> None:
        """Make the slide of what has come, while the lock is held alone."""
        making = self.place.with_suffix(".made")
        shutil.rmtree(making, ignore_errors=True)  # of a process that was killed right here
        making.mkdir()
        self.partial.rename(making / name)
        making.rename(self.place)

    def remove(self) -> bool:
        """Remove the slide unless somebody uses it; return whether it was removed."""
        if not self.lock.take(shared=False, wait=False):
            return False
        for path in (self.place, self.place.with_suffix(".made")):
            shutil.rmtree(path, ignore_errors=True)
        self.partial.unlink(missing_ok=True)
        self.lock.remove()
        return True


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
