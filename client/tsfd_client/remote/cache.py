"""Lend the slides of stores as files on this machine: fetched once for all of its processes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tqdm import tqdm

from tsfd_client.errors import DiskFullError, ImageError, unwritable
from tsfd_client.names import shown
from tsfd_client.remote.address import Address
from tsfd_client.remote.entry import Entry
from tsfd_client.remote.transfer import ChangedError, Found, Store
from tsfd_client.remote.trouble import LOG, missing

GB: Final = 1e9
MOST: Final = 20 * GB
"""Bytes of slides that are kept, unless told otherwise."""
_KEPT: Final = 7 * 24 * 3600.0  # seconds after the last use
_CHANGES: Final = 3  # while it is being fetched


@dataclass(frozen=True)
class Lent:
    """A slide of a store, on this machine.

    Attributes
    ----------
    path
        The file, whose name is the slide's.
    version
        Of its content, as the store tells it; None if the store does not.
    """

    path: Path
    version: str | None


@dataclass(frozen=True)
class Cache:
    """A folder with slides of stores.

    Attributes
    ----------
    folder
        Made if there is none, for this user alone. By default, a folder in the user's cache.
    most
        Bytes. Beyond, slides that nobody uses are removed, the least recently used first. Those in
        use count, but stay.
    """

    folder: Path | None = None
    most: float = MOST

    @contextmanager
    def lend(self, address: Address, known: str | None = None) -> Iterator[Lent]:
        """Lend a slide, fetching it if it is not here.

        Parameters
        ----------
        known
            A version that will do: if it is here, the store is not asked for another.

        Raises
        ------
        ImageError
            If it cannot be fetched, or is nothing without other files.
        OutputError
            If it cannot be kept here; `DiskFullError` if there is no room.
        """
        if address.is_in_parts:
            raise in_parts(address)
        folder = self.folder or _default(address)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            entry, version = self._take(folder, address, known)
        except OSError as error:
            raise unwritable(folder, error) from error
        try:
            yield Lent(entry.place / address.name, version)
        finally:
            entry.lock.drop()
            with suppress(OSError):  # whoever comes next tidies up
                if version is None:  # nobody finds it again
                    entry.remove()
                self._tidy(folder)

    def _take(self, folder: Path, address: Address, known: str | None) -> tuple[Entry, str | None]:
        """An entry whose lock is shared, with its slide, and the slide's version."""
        if known is not None:
            entry = Entry.of(folder, address, known)
            if entry.is_complete and entry.lend(address):
                return entry, known
            entry.lock.drop()
        store = Store(address)
        for _ in range(_CHANGES):
            found = store.look()
            entry = Entry.of(folder, address, found.version)
            try:
                while not entry.lend(address):
                    self._fetch(store, found, entry, address.name)
            except ChangedError:
                LOG.warning("%s has changed on its store: it is fetched anew.", address)
                entry.remove()
            except BaseException:
                entry.lock.drop()
                raise
            else:
                return entry, found.version
        raise ImageError(f"{address} keeps changing on its store: wait until it is complete.")

    def _fetch(self, store: Store, found: Found, entry: Entry, name: str) -> None:
        """Fetch a slide, unless another process has done that meanwhile."""
        entry.lock.take(shared=False)
        if entry.is_complete:
            return
        if found.size is not None:
            self._make_room(entry, found.size)
        with tqdm(
            desc=f"Fetching {shown(name)}",
            total=found.size,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=None,
        ) as bar:
            store.fetch(found, entry.partial, lambda there: bar.update(there - bar.n))
        entry.complete(name)

    def _make_room(self, entry: Entry, size: int) -> None:
        folder, needed = entry.place.parent, size - entry.size
        self._tidy(folder, needed)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise DiskFullError(
                f"{folder} has {free / GB:.1f} GB free, and the slide needs {needed / GB:.1f} GB: "
                "make room, or name another folder with --cache."
            )

    def _tidy(self, folder: Path, needed: int = 0) -> None:
        """Remove slides that nobody uses until the others, and `needed` bytes, have room."""
        entries = Entry.all_in(folder)
        sizes = {entry.place: entry.size for entry in entries}
        most = min(self.most, sum(sizes.values()) + shutil.disk_usage(folder).free)
        surplus = sum(sizes.values()) + needed - most
        for entry in entries:
            is_old = time.time() - entry.used > _KEPT
            if (surplus > 0 or is_old) and entry.remove():
                surplus -= sizes[entry.place]


def in_parts(address: Address) -> ImageError:
    """The error for a slide of several files."""
    return ImageError(
        f"{address} is nothing without the files beside it, and only single files are fetched: "
        "copy them all to a folder on this machine."
    )


def _default(address: Address) -> Path:
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        raise missing(address) from error
    # Not within that of `tsfd view`, which has a bound of its own.
    return user_cache_path("tsfd-slides", appauthor=False)


_chosen = Cache()


def choose(cache: Cache) -> None:
    """Choose the cache that this process uses."""
    global _chosen
    _chosen = cache


def chosen() -> Cache:
    """The cache that this process uses."""
    return _chosen
