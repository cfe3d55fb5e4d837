"""Pools of shared memory regions: registered with the server, reused by requests, removed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

import psutil
import tritonclient.grpc as triton

from tsfd_client.errors import OutputError, ServerError
from tsfd_client.server.address import is_here
from tsfd_client.server.retry import RESTRICTED
from tsfd_client.server.shared_memory import Region, owner

_IN_USE = "in use"
_NO_MEMORY = "Unable to open shared memory region"
_PATIENCE = 5.0  # seconds to wait for requests in flight when a client is closed
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0


@dataclass(eq=False)
class _Pool:
    """The regions of a client, one for each request in flight.

    Parameters
    ----------
    connection
        Triton's client, synchronous or asyncio; with the latter, the results of `_register` and
        `_unregister` must be awaited.
    url
        Address of the server, for messages.
    headers
        Sent with every call.
    timeout
        Seconds that a call may take.
    """

    connection: Any
    url: str
    headers: dict[str, str] | None
    timeout: float
    _idle: list[Region] = field(default_factory=list, init=False)
    _busy: int = field(default=0, init=False)
    _closing: bool = field(default=False, init=False)

    def _register(self, region: Region) -> Any:
        return self.connection.register_system_shared_memory(
            **region.registration(), headers=self.headers, client_timeout=self.timeout
        )

    @contextlib.contextmanager
    def _may_be_refused(self) -> Iterator[None]:
        """Explain the error if the server cannot open regions, or is not allowed to."""
        try:
            yield
        except triton.InferenceServerException as error:
            if not any(reason in str(error.message()) for reason in (_NO_MEMORY, RESTRICTED)):
                raise
            raise ServerError(
                f"The server at {self.url} cannot open this machine's shared memory: "
                "transport='shm' is for a server on the same machine; use transport='grpc'."
            ) from error

    def _unregister(self, name: str) -> Any:
        return self.connection.unregister_system_shared_memory(
            name, headers=self.headers, client_timeout=min(_PATIENCE, self.timeout)
        )


@dataclass(eq=False)
class Regions(_Pool):
    """The regions of a `Client`; thread-safe."""

    _given_up: list[Region] = field(default_factory=list, init=False)  # not yet unregistered
    _change: Condition = field(default_factory=Condition, init=False)

    @contextlib.contextmanager
    def region(self) -> Iterator[Region]:
        """Lend a region to one request; after an error drop it, as the server may still write."""
        with self._change:
            self._busy += 1
            region = self._idle.pop() if self._idle else None
        kept = False
        try:
            if region is None:
                region = Region()
                with self._may_be_refused():
                    self._register(region)
            yield region
            kept = not self._closing
            self._try_again()
        finally:
            gone = kept or region is None or self._let_go(region)
            with self._change:
                self._busy -= 1
                if region and kept:
                    self._idle.append(region)
                elif region and not gone:
                    self._given_up.append(region)
                self._change.notify()

    def close(self) -> None:
        """Wait a few seconds for requests in flight, then remove all regions."""
        with self._change:
            self._closing = True
            self._change.wait_for(lambda: not self._busy, _PATIENCE)
            left = self._idle + self._given_up
            self._idle, self._given_up = [], []
        for region in left:
            self._let_go(region, _PATIENCE)

    def forget_the_dead(self) -> None:
        """Unregister regions whose client was killed.

        A client may be alive unseen, in a container with a process namespace of its own; it then
        registers a new region.
        """
        held = self.connection.get_system_shared_memory_status(
            as_json=True, headers=self.headers, client_timeout=self.timeout
        )
        for name in held.get("regions", {}):
            process = owner(name)
            if process is not None and not psutil.pid_exists(process):
                self._unregister(name)

    def _try_again(self) -> None:
        """Unregister regions given up earlier, now that the server answers."""
        with self._change:
            given_up, self._given_up = self._given_up, []
        left = [region for region in given_up if not self._let_go(region)]
        with self._change:
            self._given_up += left

    def _let_go(self, region: Region, patience: float = 0.0) -> bool:
        """Remove a region and unregister it; return False if the server still uses it.

        Waits up to `patience` seconds for the server to finish. May be called again.
        """
        region.remove()
        until = time.monotonic() + patience
        while True:
            try:
                self._unregister(region.name)
                return True
            except triton.InferenceServerException as error:
                if not _is_in_use(error):
                    return True  # the server is gone
                if time.monotonic() >= until:
                    return False
            time.sleep(_FIRST_PAUSE)


@dataclass(eq=False)
class AsyncRegions(_Pool):
    """The regions of an `AsyncClient`; never blocks the loop, whatever the server does."""

    _leaving: set[asyncio.Task[None]] = field(default_factory=set, init=False)  # unregistering
    _unused: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _closed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._unused.set()

    @contextlib.asynccontextmanager
    async def region(self) -> AsyncIterator[Region]:
        """Lend a region to one request; after an error drop it, as the server may still write."""
        self._busy += 1
        self._unused.clear()
        region = self._idle.pop() if self._idle else None
        kept = False
        try:
            if region is None:
                region = Region()
                with self._may_be_refused():
                    await self._register(region)
            yield region
            kept = not self._closing
        finally:  # no await here: a cancelled request must end at once
            if region and kept:
                self._idle.append(region)
            elif region:
                self._give_up(region)
            self._busy -= 1
            if not self._busy:
                self._unused.set()

    async def close(self) -> None:
        """Wait a few seconds for requests in flight, then remove all regions."""
        self._closing = True
        while self._idle:
            self._give_up(self._idle.pop())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_PATIENCE, self.timeout)):
                await self._unused.wait()
                await asyncio.gather(*self._leaving)
        self._closed = True
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _give_up(self, region: Region) -> None:
        region.remove()
        if not self._closed:  # afterwards there is no connection
            task = asyncio.create_task(self._let_go(region.name))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _let_go(self, name: str) -> None:
        """Unregister a region as soon as the server no longer uses it."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._unregister(name)
                return
            except triton.InferenceServerException as error:
                if not _is_in_use(error) and error.status() != "StatusCode.DEADLINE_EXCEEDED":
                    return  # the server is gone
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)


def _is_in_use(error: triton.InferenceServerException) -> bool:
    """Whether the server refused to unregister a region because a request still uses it."""
    return _IN_USE in str(error.message())


def are_offered(regions: Regions) -> bool:
    """Whether the server has a local address and can open this machine's shared memory.

    It cannot if it runs in a container of its own, or its operator has switched this off.
    """
    if not is_here(regions.url):
        return False
    try:
        with regions.region():
            pass
        regions.close()
        regions.forget_the_dead()
    except (triton.InferenceServerException, OutputError, ServerError):
        return False
    return True
