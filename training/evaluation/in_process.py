"""A network in this process instead of a server: images of any size -> nuclei.

    for nuclei in segment_all(network, images):
        nuclei.instance_map

Cut, stitched and measured by the client, split by the server's package ``instances``: a server with
the same weights returns the same nuclei.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np

from training.model.preprocess import TILE
from training.model.serving import probabilities
from tsfd_client.assemble import TileResult, assemble
from tsfd_client.contract import MPP
from tsfd_client.nuclei import Nuclei
from tsfd_client.tiling import Tile, Tiling, tiling

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1] / "model_repository" / "nuclei_postprocess" / "1")
)
import instances

BATCH = 8
"""Tiles that go through the network at once."""

_DEFAULTS = instances.Parameters()


def segment(
    network: keras.Model,
    image: np.ndarray,
    parameters: instances.Parameters = _DEFAULTS,
) -> Nuclei:
    """Find and classify every nucleus of one image; see `segment_all`."""
    return next(segment_all(network, [image], parameters))


def segment_all(
    network: keras.Model,
    images: Iterable[np.ndarray],
    parameters: instances.Parameters = _DEFAULTS,
) -> Iterator[Nuclei]:
    """Find and classify every nucleus of each image.

    Batches run over the borders of images: small images cost no more than the tiles of large ones.

    Parameters
    ----------
    network
        As `training.model.network.build` makes it, with its weights.
    images
        uint8 [H, W, 3], RGB at 0.25 mpp, of any size.
    parameters
        Thresholds, smallest nucleus and method.

    Yields
    ------
    Nuclei
        Of each image, in order.

    Raises
    ------
    tsfd_client.errors.ImageError
        If an image cannot be used.
    """
    serve = _serving(network)
    waiting: list[tuple[Tiling, list[Tile]]] = []
    results: list[TileResult] = []
    tiles: list[np.ndarray] = []

    def finished() -> Iterator[Nuclei]:
        while waiting and len(results) >= len(waiting[0][1]):
            cut, own = waiting.pop(0)
            answers = list(zip(own, results, strict=False))
            del results[: len(own)]
            yield assemble(cut, answers, cut.image.shape[:2], MPP)

    for image in images:
        cut = tiling(image, MPP)
        own = list(cut)
        waiting.append((cut, own))
        tiles += [tile.image for tile in own]
        while len(tiles) >= BATCH:
            results += _run(serve, tiles[:BATCH], parameters)
            del tiles[:BATCH]
        yield from finished()
    if tiles:
        results += _run(serve, tiles, parameters)
    yield from finished()


@lru_cache(maxsize=1)
def _serving(network: keras.Model) -> keras.Model:
    """The graph that `training.export` writes, compiled on its first batch."""
    image = keras.Input((TILE, TILE, 3), dtype="uint8", name="image")
    serving = keras.Model(image, probabilities(image, network))
    serving.compile(jit_compile=keras.backend.backend() == "jax")
    return serving


def _run(
    serve: keras.Model, tiles: list[np.ndarray], parameters: instances.Parameters
) -> list[TileResult]:
    # Always a full batch: each other size would be compiled anew.
    batch = np.zeros((BATCH, TILE, TILE, 3), np.uint8)
    batch[: len(tiles)] = tiles
    answer = serve.predict_on_batch(batch)
    results = []
    for row in range(len(tiles)):
        found = instances.extract(
            answer["class_probs"][row],
            answer["boundary_prob"][row],
            parameters,
            with_contours=False,
        )
        results.append(
            TileResult(found.instance_map, found.nuclei, answer["tissue_probs"][row], "in process")
        )
    return results
