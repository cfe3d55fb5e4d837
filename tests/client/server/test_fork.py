"""A client in a process that was forked from the one that opened it: one clear error."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from serving.server import TritonServer
from tsfd_client import Client

# In a process of its own: pytest's has threads.
FORK = """
import os, sys, threading
import numpy as np
from tsfd_client import Client, TsfdError

url, transport, before = sys.argv[1:]
glass = np.full((400, 400, 3), 230, np.uint8)

def tell(ask):
    try:
        print(ask(), flush=True)
    except TsfdError as error:
        print(error, flush=True)

client = Client(url, transport=transport)
busy = threading.Thread(target=client.segment, args=(glass,))
if before != "unused":
    client.segment(glass)
if before == "busy":
    busy.start()
child = os.fork()
if not child:
    for ask in (client.check, client.shares_memory, lambda: client.segment(glass)):
        tell(ask)
    with client:
        pass
    if before != "busy":  # in whose midst gRPC is not to be forked
        with Client(url) as another:
            tell(lambda: len(another.segment(glass)))
    os._exit(0)
print(os.waitpid(child, 0)[1], flush=True)
if before == "busy":
    busy.join()
print(len(client.segment(glass)))
client.close()
"""
ASYNC = """
import asyncio, os, sys
import numpy as np
from tsfd_client import AsyncClient, TsfdError

async def main():
    client = AsyncClient(sys.argv[1])
    await client.check()
    child = os.fork()
    if not child:
        try:
            asyncio.run(client.segment(np.zeros((9, 9, 3), np.uint8)))
        except TsfdError as error:
            print(error, flush=True)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
    await client.check()
    await client.close()

asyncio.run(main())
"""
POOL = """
import multiprocessing, sys
import numpy as np
from tsfd_client import Client, TsfdError

client = Client(sys.argv[1])
client.check()

def work(value):
    try:
        return len(client.segment(np.full((40, 40, 3), value, np.uint8)))
    except TsfdError as error:
        return str(error)

with multiprocessing.get_context("fork").Pool(2) as pool:
    for found in pool.map(work, [230, 240]):
        print(found)
"""
SAYS = "This Client was opened in another process: open one after the fork, in each process."


def printed(script: str, *words: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", script, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return run.stdout.splitlines()


@pytest.mark.parametrize("transport", ["grpc", "shm"])
@pytest.mark.parametrize("before", ["unused", "used", "busy"])
def test_a_forked_process_is_told_to_open_one(
    server: TritonServer, transport: str, before: str
) -> None:
    """Which works, and leaves the other's connection and memory to the process that forked."""
    told = printed(FORK, server.grpc_url, transport, before)
    anew = [] if before == "busy" else ["0"]
    assert told == [SAYS, SAYS, SAYS, *anew, "0", "0"]


def test_asyncio(server: TritonServer) -> None:
    assert printed(ASYNC, server.grpc_url) == [SAYS.replace("Client", "AsyncClient"), "0"]


def test_workers_of_multiprocessing(server: TritonServer) -> None:
    assert printed(POOL, server.grpc_url) == [SAYS, SAYS]


def test_a_client_cannot_be_sent() -> None:
    with Client("localhost:1") as client, pytest.raises(TypeError) as caught:
        pickle.dumps(client)
    assert str(caught.value) == ("A Client cannot be sent to another process: open one there.")
