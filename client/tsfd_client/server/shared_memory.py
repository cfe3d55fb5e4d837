"""Tiles and instance maps through memory shared with a server on the same machine.

Each request under way has a region of its own: tiles in front, instance maps behind. What is small
or of unknown size (nuclei, counts, tissues) travels in the answer itself.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from threading import Condition
from typing import Any, Final

import numpy as np
import psutil
import tritonclient.grpc as triton
from tritonclient.utils import shared_memory as system

from tsfd_client.contract import MAX_BATCH, TILE
from tsfd_client.errors import OutputError
from tsfd_client.nuclei.assemble import TileResult
from tsfd_client.server import protocol

_MAP_BYTES = TILE * TILE * 2
_MAPS_AT = MAX_BATCH * TILE * TILE * 3
_REGION_BYTES = _MAPS_AT + MAX_BATCH * _MAP_BYTES
"""10.5 MB, of which only the pages that a request uses are ever allocated."""

_HERE = ("localhost", "127.0.0.1", "[::1]")
_PREFIX = "tsfd_client_"
_IN_USE = "in use"

PATIENCE: Final = 5.0
"""Seconds for requests under way when a client is closed."""


class Region:
    """Memory for one request of up to 32 tiles, under a name that no other region ever has.

    Raises
    ------
    OutputError
        If there is no room for it.
    """

    def __init__(self) -> None:
        self.name = f"{_PREFIX}{os.getpid()}_{secrets.token_hex(6)}"
        try:
            self._memory = system.create_shared_memory_region(
                self.name, self.name, _REGION_BYTES, create_only=True
            )
        except system.SharedMemoryException as error:
            raise OutputError(
                f"Cannot create shared memory ({error.__cause__ or error}): use transport='grpc'."
            ) from error

    def registration(self) -> dict[str, Any]:
        """Arguments of the call that makes it known to a server."""
        return {"name": self.name, "key": f"/{self.name}", "byte_size": _REGION_BYTES}

    def inputs(self, tiles: np.ndarray) -> list[triton.InferInput]:
        """Write tiles, uint8 [N, 256, 256, 3], and return the request's input."""
        tensor = protocol.image_input(tiles)
        system.set_shared_memory_region(self._memory, [tiles])
        tensor.set_shared_memory(self.name, tiles.nbytes)
        return [tensor]

    def outputs(self, count: int) -> list[triton.InferRequestedOutput]:
        """The outputs of a segmentation of `count` tiles."""
        maps, *others = protocol.outputs()
        maps.set_shared_memory(self.name, count * _MAP_BYTES, _MAPS_AT)
        return [maps, *others]

    def decode(self, answer: triton.InferResult, count: int) -> list[TileResult]:
        """Split an answer into its tiles; they do not refer to the region any more."""
        shape = (count, TILE, TILE)
        maps = system.get_contents_as_numpy(self._memory, np.uint16, shape, _MAPS_AT).copy()
        return protocol.split(maps, answer)

    def remove(self) -> None:
        """Remove its name: nobody finds it any more.

        A server that has opened it keeps its pages, and may go on writing to them, until it
        unregisters the region.
        """
        if self._memory is not None:
            system.destroy_shared_memory_region(self._memory)
            self._memory = None


def is_in_use(error: triton.InferenceServerException) -> bool:
    """Whether a server refuses to unregister a region because a request still uses it."""
    return _IN_USE in str(error.message())


def is_offered(
    connection: triton.InferenceServerClient,
    url: str,
    headers: dict[str, str] | None,
    timeout: float,
) -> bool:
    """Whether a server, by its address on this machine, can open this machine's memory.

    It cannot when it runs in a container of its own, or its operator has switched it off.
    """
    if url.rpartition(":")[0] not in _HERE:
        return False
    regions = Regions(connection, headers, timeout)
    try:
        with regions.region():
            pass
        regions.close()
        _forget_the_dead(connection, headers, timeout)
    except (triton.InferenceServerException, OutputError):
        return False
    return True


def _forget_the_dead(
    connection: triton.InferenceServerClient, headers: dict[str, str] | None, timeout: float
) -> None:
    """Have the server let go of regions whose client was killed.

    Should one be alive after all, in a container with processes of its own, it shares another.
    """
    asked = {"headers": headers, "client_timeout": timeout}
    held = connection.get_system_shared_memory_status(as_json=True, **asked)
    for name in held.get("regions", {}):
        if name.startswith(_PREFIX):
            process = int(name.removeprefix(_PREFIX).partition("_")[0])
            if not psutil.pid_exists(process):
                connection.unregister_system_shared_memory(name, **asked)


class Regions:
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
        self._idle: list[Region] = []
        self._given_up: list[Region] = []  # which the server has yet to let go of
        self._busy = 0
        self._closed = False
        self._change = Condition()

    @contextlib.contextmanager
    def region(self) -> Iterator[Region]:
        """A region for one request. After an error it is given up: the server may yet write."""
        with self._change:
            self._busy += 1
            region = self._idle.pop() if self._idle else None
        kept = False
        try:
            if region is None:
                region = Region()
                self._connection.register_system_shared_memory(
                    **region.registration(), headers=self._headers, client_timeout=self._timeout
                )
            yield region
            kept = not self._closed
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
        """Remove all regions, after the requests under way or some seconds."""
        with self._change:
            self._closed = True
            self._change.wait_for(lambda: not self._busy, PATIENCE)
            left = self._idle + self._given_up
            self._idle, self._given_up = [], []
        for region in left:
            self._let_go(region, PATIENCE)

    def _try_again(self) -> None:
        """Unregister what was given up before, now that the server answers."""
        with self._change:
            given_up, self._given_up = self._given_up, []
        left = [region for region in given_up if not self._let_go(region)]
        with self._change:
            self._given_up += left

    def _let_go(self, region: Region, patience: float = 0.0) -> bool:
        """Remove a region and unregister it, whatever has become of the server.

        Parameters
        ----------
        patience
            Seconds to go on trying while the server still uses it.

        Returns
        -------
        bool
            Whether there is nothing left to do; may be called again where there is.
        """
        region.remove()
        until = time.monotonic() + patience
        while True:
            try:
                self._connection.unregister_system_shared_memory(
                    region.name,
                    headers=self._headers,
                    client_timeout=min(PATIENCE, self._timeout),
                )
                return True
            except triton.InferenceServerException as error:
                if not is_in_use(error):
                    return True  # the server is gone
                if time.monotonic() >= until:
                    return False
            time.sleep(0.02)
