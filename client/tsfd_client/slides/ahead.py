"""Fetch the next slide from its store while one is segmented."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from tsfd_client.errors import TsfdError
from tsfd_client.remote.address import Address, Place
from tsfd_client.remote.cache import chosen
from tsfd_client.slides.status import DONE


class Ahead:
    """Fetches in a thread, and keeps what it fetched until it has been segmented."""

    def __init__(self) -> None:
        self._held: list[tuple[Event, Thread]] = []

    def fetch(self, path: Place, folder: Path) -> None:
        """Begin to fetch an image, unless it is on this machine or its result is finished.

        The image before it stays, any earlier one may go. What goes wrong is left to whoever
        segments the image.
        """
        self._drop_all_but(1)
        if isinstance(path, Address) and not (folder / DONE).is_file():
            ended = Event()
            # A daemon: an interrupted program does not wait for it.
            thread = Thread(target=_hold, args=(path, ended), name="tsfd-ahead", daemon=True)
            self._held.append((ended, thread))
            thread.start()

    def give_way(self) -> bool:
        """Let go of everything, for a slide that has no room; return whether there was anything."""
        threads = [thread for _, thread in self._held]
        self.close()
        for thread in threads:
            thread.join()
        return bool(threads)

    def close(self) -> None:
        """Let go of everything."""
        self._drop_all_but(0)

    def _drop_all_but(self, most: int) -> None:
        while len(self._held) > most:
            ended, _ = self._held.pop(0)
            ended.set()


def _hold(address: Address, ended: Event) -> None:
    with suppress(TsfdError), chosen().lend(address):
        ended.wait()
