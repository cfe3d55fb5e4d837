"""The protocol: requests for tiles, the answers to them, and whether a server keeps to it."""

from __future__ import annotations

import numpy as np
import tritonclient.grpc as triton

from tsfd_client.assemble import TileResult
from tsfd_client.contract import MAX_BATCH, MODEL, OUTPUTS, TILE
from tsfd_client.errors import ImageError, ServerError, ServerUnavailableError

WANTED = ("instance_map", "nuclei", "nuclei_count", "tissue_probs")
CHANNEL_ARGUMENTS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Notices within seconds that a server's machine is gone, not only its process.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


def image_input(tiles: np.ndarray) -> triton.InferInput:
    """The request's input for tiles uint8 [N, 256, 256, 3], 1 <= N <= 32, without its data."""
    if (
        tiles.dtype != np.uint8
        or tiles.shape[1:] != (TILE, TILE, 3)
        or not 1 <= len(tiles) <= MAX_BATCH
    ):
        raise ImageError(
            f"Tiles must be uint8 [1 to {MAX_BATCH}, {TILE}, {TILE}, 3], not {tiles.dtype} "
            f"{list(tiles.shape)}."
        )
    return triton.InferInput("image", tiles.shape, "UINT8")


def inputs(tiles: np.ndarray) -> list[triton.InferInput]:
    """The request's input with the tiles in it."""
    return [image_input(tiles).set_data_from_numpy(tiles)]


def outputs() -> list[triton.InferRequestedOutput]:
    """The outputs a segmentation needs, the instance maps first."""
    return [triton.InferRequestedOutput(name) for name in WANTED]


def decode(answer: triton.InferResult) -> list[TileResult]:
    """Split an answer into its tiles."""
    return split(answer.as_numpy(WANTED[0]), answer)


def split(maps: np.ndarray, answer: triton.InferResult) -> list[TileResult]:
    """Split instance maps uint16 [N, 256, 256] and the rest of an answer into tiles."""
    nuclei, counts, tissues = (answer.as_numpy(name) for name in WANTED[1:])
    return [
        TileResult(maps[i], nuclei[i, : int(counts[i, 0])], tissues[i]) for i in range(len(maps))
    ]


def check_ready(ready: bool, url: str) -> None:
    """Raise ServerUnavailableError unless the model is ready."""
    if not ready:
        raise ServerUnavailableError(
            f"The server at {url} is up but its model {MODEL} is not ready: its log says why."
        )


def check_metadata(metadata: object, url: str) -> None:
    """Raise ServerError unless the served model keeps the contract."""
    offered = {output.name for output in metadata.outputs}
    missing = sorted(set(OUTPUTS) - offered)
    if missing or [i.name for i in metadata.inputs] != ["image"]:
        raise ServerError(
            f"The model {MODEL} at {url} is not the one this client knows (missing: "
            f"{', '.join(missing) or 'input image'}): use the client of the server's version."
        )
