"""The protocol: requests for tiles, the answers to them, and whether a server keeps to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from tsfd_client.contract import MAX_BATCH, MODEL, OUTPUTS, TILE, VERSION
from tsfd_client.errors import ImageError, ServerError, ServerUnavailableError, TsfdError
from tsfd_client.nuclei.assembly import TileResult
from tsfd_client.release import PARAMETER, Release

WANTED = ("instance_map", "nuclei", "nuclei_count", "tissue_probs", "release")
CANARY = np.full((1, TILE, TILE, 3), 255, np.uint8)
"""A patch of blank glass: whether every model behind the ensemble answers."""


@dataclass(frozen=True)
class Served:
    """What a server says of itself.

    Attributes
    ----------
    release
        Which network, post-processing and thresholds it serves.
    triton
        Version of Triton.
    """

    release: Release
    triton: str


class Carrier:
    """What the tiles and instance maps of a request travel in: here the messages of gRPC."""

    def inputs(self, tiles: np.ndarray) -> list[triton.InferInput]:
        """The request's input with tiles uint8 [N, 256, 256, 3], 1 <= N <= 32."""
        if (
            tiles.dtype != np.uint8
            or tiles.shape[1:] != (TILE, TILE, 3)
            or not 1 <= len(tiles) <= MAX_BATCH
        ):
            raise ImageError(
                f"Tiles must be uint8 [1 to {MAX_BATCH}, {TILE}, {TILE}, 3], not {tiles.dtype} "
                f"{list(tiles.shape)}."
            )
        tensor = triton.InferInput("image", tiles.shape, "UINT8")
        self._write(tensor, tiles)
        return [tensor]

    def outputs(self, count: int) -> list[triton.InferRequestedOutput]:
        """The outputs that a segmentation of `count` tiles needs, the instance maps first."""
        return [triton.InferRequestedOutput(name) for name in WANTED]

    def decode(self, answer: triton.InferResult, count: int) -> list[TileResult]:
        """Split an answer into its tiles; they do not refer to the carrier any more."""
        maps = self._maps(answer, count)
        nuclei, counts, tissues, releases = (answer.as_numpy(name) for name in WANTED[1:])
        return [
            TileResult(maps[i], nuclei[i, : counts[i, 0]], tissues[i], releases[i, 0].decode())
            for i in range(len(maps))
        ]

    def _write(self, tensor: triton.InferInput, tiles: np.ndarray) -> None:
        tensor.set_data_from_numpy(tiles)

    def _maps(self, answer: triton.InferResult, count: int) -> np.ndarray:
        """Instance maps, uint16 [N, 256, 256]."""
        maps: np.ndarray = answer.as_numpy(WANTED[0])
        return maps


def read_release(answer: Any, url: str) -> Release:
    """What the served model's configuration, a ModelConfigResponse, says is served.

    Raises
    ------
    ServerError
        If it says nothing, or nothing that this client understands.
    """
    text = answer.config.parameters[PARAMETER].string_value
    if not text:
        raise ServerError(
            f"The server at {url} does not say what it serves: its models were made by an older "
            "version; run `make convert` there."
        )
    try:
        return Release.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError, TsfdError) as error:
        raise ServerError(
            f"The server at {url} says what it serves in words that this client does not know "
            f"({error}): update the client."
        ) from error


def check_answer(answer: TileResult, release: Release, url: str) -> None:
    """Raise ServerError unless a server answers by the release that it says it serves."""
    if answer.release != release.name:
        raise ServerError(
            f"The server at {url} says it serves {release.name} and answers by {answer.release}: "
            "its models do not belong together; run `make convert` there, or copy them again."
        )


def check_ready(ready: bool, url: str) -> None:
    """Raise ServerUnavailableError unless the model is ready."""
    if not ready:
        raise ServerUnavailableError(
            f"The server at {url} is up but its model {MODEL} is not ready: its log says why."
        )


def check_contract(model: Any, url: str) -> None:
    """Raise ServerError unless the served model's metadata keep this client's contract."""
    if VERSION not in model.versions:
        newer = max(int(version) for version in model.versions) > int(VERSION)
        raise ServerError(
            f"The server at {url} speaks version {', '.join(model.versions)} of {MODEL}, this "
            f"client version {VERSION}: update the {'client' if newer else 'server'}."
        )
    missing = sorted(set(OUTPUTS) - {output.name for output in model.outputs})
    if missing:
        # Within a version outputs are only ever added.
        raise ServerError(
            f"The model {MODEL} at {url} lacks {', '.join(missing)}, which this client knows: "
            "update the server."
        )
