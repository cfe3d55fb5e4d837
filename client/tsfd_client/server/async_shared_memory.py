"""Regions of shared memory for the asyncio client: whatever the server does, the loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import tritonclient.grpc.aio as triton

from tsfd_client.server.shared_memory import PATIENCE, Region, is_in_use

_FIRST_PAUSE: Final = 0.02  # seconds
_LONGEST_PAUSE: Final = 1.0


class AsyncRegions:
    """The regions of one client, as many as it has had requests under way at a time.

    Parameters
    ----------
    connection, headers
        How the server is told of them.
    timeout
        Seconds that it may take to answer.
    """

    def __init__(
        self,
        connection: triton.InferenceServerClient,
        headers: dict[str, str] | None,
        timeout: float,
    ) -> None:
        self._connection = connection
        self._headers = headers
        self._timeout = timeout
        self._patience = min(PATIENCE, timeout)
        self._idle: list[Region] = []
        self._leaving: set[asyncio.Task[None]] = set()  # which have given-up regions unregistered
        self._busy = 0
        self._unused = asyncio.Event()
        self._unused.set()
        self._closing = self._closed = False

    @contextlib.asynccontextmanager
    async def region(self) -> AsyncIterator[Region]:
        """A region for one request. After an error it is given up: the server may yet write."""
        self._busy += 1
        self._unused.clear()
        region = self._idle.pop() if self._idle else None
        kept = False
        try:
            if region is None:
                region = Region()
                await self._connection.register_system_shared_memory(
                    **region.registration(), headers=self._headers, client_timeout=self._timeout
                )
            yield region
            kept = not self._closing
        finally:  # without an await: who is cancelled ends at once
            if region and kept:
                self._idle.append(region)
            elif region:
                self._give_up(region)
            self._busy -= 1
            if not self._busy:
                self._unused.set()

    async def close(self) -> None:
        """Remove all regions, after the requests under way or some seconds."""
        self._closing = True
        while self._idle:
            self._give_up(self._idle.pop())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._unused.wait()
                await asyncio.gather(*self._leaving)
        self._closed = True
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _give_up(self, region: Region) -> None:
        region.remove()
        if not self._closed:  # after which there is no connection
            task = asyncio.create_task(self._let_go(region.name))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _let_go(self, name: str) -> None:
        """Unregister a region as soon as the server does not use it any more."""
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._connection.unregister_system_shared_memory(
                    name, headers=self._headers, client_timeout=self._patience
                )
                return
            except triton.InferenceServerException as error:
                if not is_in_use(error) and error.status() != "StatusCode.DEADLINE_EXCEEDED":
                    return  # the server is gone
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)
