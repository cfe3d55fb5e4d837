"""Shared memory and asyncio: the loop goes on whatever the server does, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as triton

from serving.server import TritonServer
from tsfd_client import AsyncClient, ServerUnavailableError

ONE = np.full((1, 256, 256, 3), 255, np.uint8)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield "127.0.0.1:{}".format(*listening.getsockname()[1:])


@asynccontextmanager
async def beats() -> AsyncIterator[list[None]]:
    """What another task of the same loop has noted: an item per turn."""
    noted: list[None] = []

    async def beat() -> None:
        while True:
            await asyncio.sleep(0.01)
            noted.append(None)

    task = asyncio.create_task(beat())
    yield noted
    task.cancel()


def left_behind() -> list[Path]:
    return list(Path("/dev/shm").glob(f"tsfd_client_{os.getpid()}_*"))


def test_the_loop_goes_on_while_a_server_is_silent(silent: str) -> None:
    async def ask() -> int:
        async with (
            beats() as noted,
            AsyncClient(silent, transport="shm", timeout=0.5, retry_for=0) as client,
        ):
            with pytest.raises(ServerUnavailableError, match="did not answer in time"):
                await client.segment_tiles(ONE)
            return len(noted)

    assert asyncio.run(ask()) > 0
    assert left_behind() == []


def test_requests_to_a_silent_server_end_when_they_are_cancelled(silent: str) -> None:
    async def ask() -> list[bool]:
        async with (
            beats() as noted,
            AsyncClient(silent, transport="shm", timeout=0.5, retry_for=3600) as client,
        ):
            requests = [asyncio.create_task(client.segment_tiles(ONE)) for _ in range(4)]
            while len(noted) < 3:
                await asyncio.sleep(0.01)
            assert len(left_behind()) == 4
            for request in requests:
                request.cancel()
            for _ in range(50):  # turns of the loop in which nothing is waited for
                await asyncio.sleep(0)
            return [request.cancelled() for request in requests]

    assert asyncio.run(ask()) == [True] * 4
    assert left_behind() == []


def test_regions_of_cancelled_requests_are_unregistered(
    server: TritonServer, patches: np.ndarray
) -> None:
    async def names(connection: triton.InferenceServerClient) -> list[str]:
        held = await connection.get_system_shared_memory_status(as_json=True)
        return list(held.get("regions", {}))

    async def ask() -> None:
        async with (
            triton.InferenceServerClient(server.grpc_url) as connection,
            AsyncClient(server.grpc_url, transport="shm") as client,
            asyncio.timeout(60),
        ):
            requests = [asyncio.create_task(client.segment_tiles(patches[:8])) for _ in range(3)]
            while len(await names(connection)) < 3:
                await asyncio.sleep(0.005)
            for request in requests:
                request.cancel()
            results = await asyncio.gather(*requests, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            assert left_behind() == []
            while await names(connection):  # the client is still open
                await asyncio.sleep(0.02)
            (found,) = await client.segment_tiles(patches[:1])
            assert len(found.nuclei)
            assert len(await names(connection)) == 1
        async with triton.InferenceServerClient(server.grpc_url) as connection:
            assert await names(connection) == []

    asyncio.run(ask())
    assert left_behind() == []
