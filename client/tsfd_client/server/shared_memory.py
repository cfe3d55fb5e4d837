"""Tiles and instance maps through memory shared with a server on the same machine.

Each request under way has a region of its own: tiles in front, instance maps behind. What is small
or of unknown size (nuclei, counts, tissues) travels in the answer itself.
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
"""10.5 MB, of which only the pages that a request uses are ever allocated."""

_PREFIX = "tsfd_client_"


class Region(Carrier):
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
        """Remove its name: nobody finds it any more.

        A server that has opened it keeps its pages, and may go on writing to them, until it
        unregisters the region.
        """
        if self._memory is not None:
            system.destroy_shared_memory_region(self._memory)
            self._memory = None


def owner(name: str) -> int | None:
    """The process that made the region of this name; None where no client of this package did."""
    return int(name.removeprefix(_PREFIX).partition("_")[0]) if name.startswith(_PREFIX) else None
