"""Exchange tiles and instance maps through memory shared with a server on the same machine.

Each request in flight has a region of its own: first the tiles, then the instance maps. Small
outputs and those of unknown size (nuclei, counts, tissues) travel in the answer itself.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import shared_memory as system

from tsfd_client.contract import MAX_BATCH, TILE
from tsfd_client.errors import OutputError
from tsfd_client.server.protocol import Carrier

_MAP_BYTES = TILE * TILE * 2
_MAPS_AT = MAX_BATCH * TILE * TILE * 3
_REGION_BYTES = _MAPS_AT + MAX_BATCH * _MAP_BYTES
"""10.5 MB; only the pages that a request uses are actually allocated."""

_PREFIX = "tsfd_client_"


class Region(Carrier):
    """Memory for one request of up to 32 tiles, with a unique name.

    Raises
    ------
    OutputError
        If there is not enough shared memory.
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
        """Arguments of the call that registers it with a server."""
        return {"name": self.name, "key": f"/{self.name}", "byte_size": _REGION_BYTES}

    def outputs(self, count: int) -> list[triton.InferRequestedOutput]:
        maps, *others = super().outputs(count)
        maps.set_shared_memory(self.name, count * _MAP_BYTES, _MAPS_AT)
        return [maps, *others]

    def _write(self, tensor: triton.InferInput, tiles: np.ndarray) -> None:
        system.set_shared_memory_region(self._memory, [tiles])
        tensor.set_shared_memory(self.name, tiles.nbytes)

    def _maps(self, answer: triton.InferResult, count: int) -> np.ndarray:
        shape = (count, TILE, TILE)
        maps: np.ndarray = system.get_contents_as_numpy(self._memory, np.uint16, shape, _MAPS_AT)
        return maps.copy()

    def remove(self) -> None:
        """Remove its name, so that nobody can open it any more.

        A server that has opened it keeps the pages, and may still write to them, until the region
        is unregistered.
        """
        if self._memory is not None:
            system.destroy_shared_memory_region(self._memory)
            self._memory = None


def owner(name: str) -> int | None:
    """Return the id of the process that made a region, or None if it is not from this package."""
    return int(name.removeprefix(_PREFIX).partition("_")[0]) if name.startswith(_PREFIX) else None
