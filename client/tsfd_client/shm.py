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

import numpy as np
import psutil
import tritonclient.grpc as triton
from tritonclient.utils import shared_memory as system

from tsfd_client import wire
from tsfd_client.assemble import TileResult
from tsfd_client.contract import MAX_BATCH, TILE
from tsfd_client.errors import OutputError

_MAP_BYTES = TILE * TILE * 2
_MAPS_AT = MAX_BATCH * TILE * TILE * 3
_REGION_BYTES = _MAPS_AT + MAX_BATCH * _MAP_BYTES
"""10.5 MB, of which only the pages that a request uses are ever allocated."""

_HERE = ("localhost", "127.0.0.1", "[::1]")
_PREFIX = "tsfd_client_"
_IN_USE = "in use"
_PATIENCE = 5.0  # seconds for requests under way when the client is closed


class Region:
    """Memory for one request of up to 32 tiles, registered with the server."""

    def __init__(
        self, connection: triton.InferenceServerClient, headers: dict[str, str] | None
    ) -> None:
        self._connection = connection
        self._headers = headers
        self._name = f"{_PREFIX}{os.getpid()}_{secrets.token_hex(6)}"
        try:
            self._memory = system.create_shared_memory_region(
                self._name, self._name, _REGION_BYTES, create_only=True
            )
        except system.SharedMemoryException as error:
            raise OutputError(
                f"Cannot create shared memory ({error.__cause__ or error}): use transport='grpc'."
            ) from error
        try:
            connection.register_system_shared_memory(
                self._name, f"/{self._name}", _REGION_BYTES, headers=headers
            )
        except BaseException:
            system.destroy_shared_memory_region(self._memory)
            raise

    def inputs(self, tiles: np.ndarray) -> list[triton.InferInput]:
        """Write tiles, uint8 [N, 256, 256, 3], and return the request's input."""
        tensor = wire.image_input(tiles)
        system.set_shared_memory_region(self._memory, [tiles])
        tensor.set_shared_memory(self._name, tiles.nbytes)
        return [tensor]

    def outputs(self, count: int) -> list[triton.InferRequestedOutput]:
        """The outputs of a segmentation of `count` tiles."""
        maps, *others = wire.outputs()
        maps.set_shared_memory(self._name, count * _MAP_BYTES, _MAPS_AT)
        return [maps, *others]

    def decode(self, answer: triton.InferResult, count: int) -> list[TileResult]:
        """Split an answer into its tiles; they do not refer to the region any more."""
        shape = (count, TILE, TILE)
        maps = system.get_contents_as_numpy(self._memory, np.uint16, shape, _MAPS_AT).copy()
        return wire.split(maps, answer)

    def release(self, patience: float = 0.0) -> bool:
        """Remove the memory and unregister it, whatever has become of the server.

        Parameters
        ----------
        patience
            Seconds to go on trying while the server still uses it.

        Returns
        -------
        bool
            Whether there is nothing left to do; may be called again where there is.
        """
        if self._memory is not None:
            system.destroy_shared_memory_region(self._memory)
            self._memory = None
        until = time.monotonic() + patience
        while True:
            try:
                self._connection.unregister_system_shared_memory(
                    self._name, headers=self._headers, client_timeout=_PATIENCE
                )
                return True
            except triton.InferenceServerException as error:
                if _IN_USE not in str(error.message()):
                    return True  # the server is gone
                if time.monotonic() >= until:
                    return False
            time.sleep(0.02)


def is_offered(
    connection: triton.InferenceServerClient, url: str, headers: dict[str, str] | None
) -> bool:
    """Whether a server, by its address on this machine, can open this machine's memory.

    It cannot when it runs in a container of its own, or its operator has switched it off.
    """
    if url.rpartition(":")[0] not in _HERE:
        return False
    try:
        Region(connection, headers).release()
        _forget_the_dead(connection, headers)
    except (triton.InferenceServerException, OutputError):
        return False
    return True


def _forget_the_dead(
    connection: triton.InferenceServerClient, headers: dict[str, str] | None
) -> None:
    """Have the server let go of regions whose client was killed.

    Should one be alive after all, in a container with processes of its own, it shares another.
    """
    held = connection.get_system_shared_memory_status(headers=headers, as_json=True)
    for name in held.get("regions", {}):
        if name.startswith(_PREFIX):
            process = int(name.removeprefix(_PREFIX).partition("_")[0])
            if not psutil.pid_exists(process):
                connection.unregister_system_shared_memory(name, headers=headers)


class Regions:
    """The regions of one client, as many as it has had requests under way at a time."""

    def __init__(
        self, connection: triton.InferenceServerClient, headers: dict[str, str] | None
    ) -> None:
        self._connection = connection
        self._headers = headers
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
            region = region or Region(self._connection, self._headers)
            yield region
            kept = not self._closed
        finally:
            gone = kept or region is None or region.release()
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
            self._change.wait_for(lambda: not self._busy, _PATIENCE)
            left = self._idle + self._given_up
            self._idle, self._given_up = [], []
        for region in left:
            region.release(_PATIENCE)
