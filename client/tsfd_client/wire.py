"""What both clients share: requests, answers, and which failures are worth another try."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import tritonclient.grpc as triton

from tsfd_client.contract import MAX_BATCH, MODEL, OUTPUTS, TILE
from tsfd_client.errors import ImageError, ServerError, ServerUnavailableError, TsfdError
from tsfd_client.nuclei import Nuclei, describe
from tsfd_client.stitch import TileNuclei, stitch
from tsfd_client.tiling import Tile, Tiling

WANTED = ("instance_map", "nuclei", "nuclei_count", "tissue_probs")
CHANNEL_ARGUMENTS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Notices within seconds that a server's machine is gone, not only its process.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]

_FULL_QUEUE = "maximum queue size"
_NO_MEMORY = "Unable to open shared memory region"
_FORGOTTEN = "Unable to find shared memory region"  # the server has been restarted
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 2.0
_BLANK = 215


@dataclass(frozen=True)
class Settings:
    """Thresholds of the instances; None leaves the server's default.

    Attributes
    ----------
    foreground_threshold, boundary_threshold
        Probabilities in (0, 1).
    min_area
        Smallest nucleus, pixels at 0.25 mpp.
    min_confidence
        Smallest mean foreground probability of a nucleus, in [0, 1).
    method
        ``"watershed"`` or ``"reference"`` (the steps of TSFD-Net's authors).
    """

    foreground_threshold: float | None = None
    boundary_threshold: float | None = None
    min_area: int | None = None
    min_confidence: float | None = None
    method: str | None = None

    def parameters(self) -> dict[str, str]:
        """As request parameters, in text: the server reads it, and numpy's numbers are refused."""
        return {name: str(value) for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class TileResult:
    """The server's answer for one tile: uint16 [256, 256], float32 [n, 11], float32 [19]."""

    instance_map: np.ndarray
    nuclei: np.ndarray
    tissue_probs: np.ndarray


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


def wait_before_retry(
    error: triton.InferenceServerException,
    *,
    url: str,
    attempt: int,
    waited: float,
    patience: float,
) -> float:
    """Seconds to wait before another try; raises the clear error where none is worth it.

    Parameters
    ----------
    attempt
        Tries that failed before this one.
    waited, patience
        Seconds since the first try, and how long to go on.
    """
    worth_it = error.status() == "StatusCode.UNAVAILABLE" or _FORGOTTEN in str(error.message())
    if not worth_it or waited >= patience:
        raise explain(error, url) from error
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)


def explain(error: triton.InferenceServerException, url: str) -> TsfdError:
    """The exception of the Triton client as one of this package's, with a sentence to act on."""
    status = str(error.status() or "").removeprefix("StatusCode.")
    message = str(error.message()).splitlines()[0] if error.message() else "no reason given"
    if status == "UNAVAILABLE" and _FULL_QUEUE in message:
        return ServerUnavailableError(
            f"The server at {url} is overloaded (its queue stayed full): try again later, or lower "
            "max_in_flight."
        )
    if status == "UNAVAILABLE" and "timeout" not in message.lower():
        return ServerUnavailableError(
            f"No Triton server answers at {url}: check the address, or start one with `make serve`."
        )
    if status in ("DEADLINE_EXCEEDED", "UNAVAILABLE"):
        return ServerUnavailableError(
            f"The server at {url} did not answer in time: it is overloaded, or the timeout is too "
            "short."
        )
    if _NO_MEMORY in message:
        return ServerError(
            f"The server at {url} cannot open this machine's shared memory: transport='shm' is for "
            "a server on the same machine; use transport='grpc'."
        )
    if status == "NOT_FOUND" or "unknown model" in message:
        return ServerError(f"The server at {url} does not serve {MODEL}: {message}")
    return ServerError(f"The server at {url} refused the request ({status}): {message}")


def batches(tiling: Tiling, size: int) -> list[list[Tile]]:
    """The tiles of an image in requests of at most `size`."""
    tiles = list(tiling)
    return [tiles[start : start + size] for start in range(0, len(tiles), size)]


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


def assemble(
    tiling: Tiling, results: list[tuple[Tile, TileResult]], shape: tuple[int, int], mpp: float
) -> Nuclei:
    """Stitch the answers for all tiles of an image."""
    height, width = tiling.image.shape[:2]
    tiles = [TileNuclei(tile.y, tile.x, r.instance_map, r.nuclei) for tile, r in results]
    weights = np.array([1e-6 + np.mean(tile.image[..., 1] < _BLANK) for tile, _ in results])
    tissue = np.average([r.tissue_probs for _, r in results], axis=0, weights=weights)
    stitched = stitch(tiles, height, width)
    return describe(stitched, tiling, shape, mpp, tissue.astype(np.float32))
