"""The protocol: requests for tiles, their answers, and checks that a server keeps the contract."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from tsfd_client.contract import FEATURES, MAX_BATCH, MODEL, OUTPUTS, TILE, VERSION
from tsfd_client.errors import ImageError, ServerError, ServerUnavailableError, TsfdError
from tsfd_client.nuclei.assembly import TileResult
from tsfd_client.release import PARAMETER, Release

WANTED = ("instance_map", "nuclei", "nuclei_count", "tissue_probs", "release")
CANARY = np.full((1, TILE, TILE, 3), 255, np.uint8)
"""A patch of blank glass, to check that every model behind the ensemble answers."""


@dataclass(frozen=True)
class Served:
    """A server's description of itself.

    Attributes
    ----------
    release
        The network, post-processing and thresholds that it serves.
    triton
        Version of Triton.
    """

    release: Release
    triton: str


class Carrier:
    """Transports the tiles and instance maps of a request; this one uses the gRPC messages."""

    def inputs(self, tiles: np.ndarray) -> list[triton.InferInput]:
        """Return the request's input for tiles uint8 [N, 256, 256, 3], 1 <= N <= 32."""
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
        """Return the outputs to request for `count` tiles, the instance maps first."""
        return [triton.InferRequestedOutput(name) for name in WANTED]

    def decode(self, answer: triton.InferResult, count: int) -> list[TileResult]:
        """Split an answer into its tiles; the results do not refer to the carrier's memory."""
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


def features_request(tiles: np.ndarray, instance_maps: np.ndarray) -> dict[str, Any]:
    """Model, inputs and outputs of a request for the features of the nuclei in tiles."""
    inputs = []
    for name, array, kind in (
        ("image", tiles, "UINT8"),
        ("instance_map", instance_maps, "UINT16"),
    ):
        tensor = triton.InferInput(name, array.shape, kind)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    outputs = [triton.InferRequestedOutput("nuclei_features")]
    return {"model_name": FEATURES, "model_version": VERSION, "inputs": inputs, "outputs": outputs}


def read_release(answer: Any, url: str) -> Release:
    """Read the release from the served model's configuration, a ModelConfigResponse.

    Raises
    ------
    ServerError
        If the configuration does not contain a release, or one that this client cannot read.
    """
    text = answer.config.parameters[PARAMETER].string_value
    if not text:
        raise ServerError(
            f"The server at {url} does not describe what it serves: its models were made by an "
            "older version; run `make convert` there."
        )
    try:
        return Release.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError, TsfdError) as error:
        raise ServerError(
            f"The server at {url} describes what it serves in a form that this client does not "
            f"know ({error}): update the client."
        ) from error


def check_answer(answer: TileResult, release: Release, url: str) -> None:
    """Raise ServerError unless an answer comes from the release that the server claims to serve."""
    if answer.release != release.name:
        raise ServerError(
            f"The server at {url} claims to serve {release.name} but answers with "
            f"{answer.release}: its models do not belong together; run `make convert` there, or "
            "copy them again."
        )


def check_ready(ready: bool, url: str) -> None:
    """Raise ServerUnavailableError unless the model is ready."""
    if not ready:
        raise ServerUnavailableError(
            f"The server at {url} is up but its model {MODEL} is not ready: see its log."
        )


def check_contract(model: Any, url: str) -> None:
    """Raise ServerError unless the served model's metadata match this client's contract."""
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
