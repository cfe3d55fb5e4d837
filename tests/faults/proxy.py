"""A network that misbehaves: a TCP proxy between a client and a server."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_CHUNK = 65536
_NO_LINGER = struct.pack("ii", 1, 0)  # close() sends a reset


class Proxy:
    """Forwards bytes, well or badly, as a context manager.

    Attributes
    ----------
    url
        Where clients connect.
    latency
        Seconds by which each chunk is late.
    chunk
        Bytes per write.
    is_half_open
        Whether connections stay open while nothing passes any more.
    """

    def __init__(self, server: str) -> None:
        self._host, _, port = server.rpartition(":")
        self._port = int(port)
        self.latency = 0.0
        self.chunk = _CHUNK
        self.is_half_open = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = "{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reset(self) -> None:
        """Break all connections off as a router does that has forgotten them."""
        self._call(self._reset())

    def _call(self, coroutine: object) -> object:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _reset(self) -> None:
        for writer in [w for w in self._writers if not w.transport.is_closing()]:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            writer.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        await self._reset()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        both = {writer, far_writer}
        self._writers |= both
        try:
            await asyncio.gather(
                self._forward(reader, far_writer), self._forward(far_reader, writer)
            )
        except (OSError, asyncio.CancelledError):
            pass  # either end has gone, or the proxy ends
        finally:
            self._writers -= both
            for end in both:
                end.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            while self.is_half_open:
                await asyncio.sleep(0.05)
            if self.latency:
                await asyncio.sleep(self.latency)
            for start in range(0, len(data), self.chunk):
                writer.write(data[start : start + self.chunk])
                await writer.drain()
        writer.close()
