"""Segment images of any size with a network in this process instead of a server.

    for nuclei in segment_all(network, images):
        nuclei.instance_map

Images are cut and tiles stitched and measured by the client, and nuclei are found by the server's
package ``instances``, so a server with the same weights returns the same nuclei. Another method of
`METHODS` can find them instead, and another form of the network can answer (`segment_by`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache, partial

import instances
import keras
import numpy as np

from training.data.annotated import MPP
from training.evaluation.methods import METHODS, SERVED, Extract
from training.model.serving import probabilities
from training.target import PANNUKE, Target
from tsfd_client.contract import TILE
from tsfd_client.nuclei.assembly import Assembly, Results, TileResult
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.settings import Settings
from tsfd_client.stitching.tiling import Tile, Tiling, tiling

BATCH = 8
"""Tiles per batch of the network."""

Answer = Callable[[np.ndarray], dict[str, np.ndarray]]
"""A form of the network: from uint8 [8, 256, 256, 3] to arrays of the same length, as `Answers`."""

Answers = list[dict[str, np.ndarray]]
"""Per tile: ``class_probs`` uint8 [256, 256, 1 + K], ``boundary_prob`` uint8 [256, 256] and
``tissue_probs`` float32 [19]."""

_DEFAULTS = instances.Parameters()
_AS_SERVED = METHODS[SERVED]
_RELEASE = "in process"


@dataclass(frozen=True)
class Probabilities:
    """The network's output for one image, tile by tile.

    Attributes
    ----------
    tiling, tiles
        How the image was cut.
    answers
        The output for each tile.
    target
        What the network tells apart.
    """

    tiling: Tiling
    tiles: list[Tile]
    answers: Answers
    target: Target = PANNUKE

    def nuclei(
        self,
        parameters: instances.Parameters = _DEFAULTS,
        ask: Callable[[list[Tile]], Answers] | None = None,
        extract: Extract = _AS_SERVED,
    ) -> Nuclei:
        """Find the nuclei of each tile and stitch them.

        Parameters
        ----------
        parameters
            Thresholds and smallest nucleus.
        ask
            The network, for extra tiles around nuclei that tile borders cut. Without it these stay
            cut, which is accurate enough for comparing thresholds.
        extract
            The method.
        """
        results = _results(self.tiles, self.answers, parameters, extract)
        assembly = Assembly(self.tiling, results)
        tiles = assembly.between if ask else []
        more = _results(tiles, ask(tiles), parameters, extract) if ask and tiles else []
        release = self.target.release(_RELEASE, Settings(**asdict(parameters)))
        return assembly.nuclei(more, release)


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
    target: Target = PANNUKE,
    extract: Extract = _AS_SERVED,
    mpp: float = MPP,
) -> Iterator[Nuclei]:
    """Find and classify every nucleus of each image.

    Parameters
    ----------
    network
        As `training.model.network.build` makes it, with its weights.
    images
        uint8 [H, W, 3], RGB, of any size.
    parameters
        Thresholds and smallest nucleus.
    target
        What the network tells apart, at which scale.
    extract
        The method.
    mpp
        Scale of the images, micrometres per pixel.

    Yields
    ------
    Nuclei
        Of each image, in order.

    Raises
    ------
    tsfd_client.errors.ImageError
        If an image cannot be used.
    """
    answer = _serving(network).predict_on_batch
    yield from segment_by(answer, images, parameters, target, mpp, extract)


def segment_by(
    answer: Answer,
    images: Iterable[np.ndarray],
    parameters: instances.Parameters,
    target: Target,
    mpp: float,
    extract: Extract = _AS_SERVED,
) -> Iterator[Nuclei]:
    """The same by any form of the network; parameters as in `segment_all`."""
    ask = partial(_answer_all, answer)
    for found in _run(answer, images, target, mpp):
        yield found.nuclei(parameters, ask, extract)


def run(
    network: keras.Model,
    images: Iterable[np.ndarray],
    target: Target = PANNUKE,
    mpp: float = MPP,
) -> Iterator[Probabilities]:
    """Run the network on images; parameters as in `segment_all`.

    A batch may hold tiles of several images, so that small images are as cheap as large ones.

    Raises
    ------
    tsfd_client.errors.ImageError
        If an image cannot be used.
    """
    return _run(_serving(network).predict_on_batch, images, target, mpp)


def _run(
    answer: Answer, images: Iterable[np.ndarray], target: Target, mpp: float
) -> Iterator[Probabilities]:
    waiting: list[tuple[Tiling, list[Tile]]] = []
    answers: Answers = []
    tiles: list[np.ndarray] = []

    def finished() -> Iterator[Probabilities]:
        while waiting and len(answers) >= len(waiting[0][1]):
            cut, own = waiting.pop(0)
            yield Probabilities(cut, own, answers[: len(own)], target)
            del answers[: len(own)]

    for image in images:
        cut = tiling(image, mpp, target.mpp)
        own = list(cut)
        waiting.append((cut, own))
        tiles += [tile.image for tile in own]
        while len(tiles) >= BATCH:
            answers += _answers(answer, tiles[:BATCH])
            del tiles[:BATCH]
        yield from finished()
    if tiles:
        answers += _answers(answer, tiles)
    yield from finished()


@lru_cache(maxsize=1)
def _serving(network: keras.Model) -> keras.Model:
    """The graph that `training.export` writes; compiled on the first batch."""
    image = keras.Input((TILE, TILE, 3), dtype="uint8", name="image")
    serving = keras.Model(image, probabilities(network(image, training=False)))
    serving.compile(jit_compile=keras.backend.backend() == "jax")
    return serving


def _results(
    tiles: list[Tile], answers: Answers, parameters: instances.Parameters, extract: Extract
) -> Results:
    results = []
    for tile, answer in zip(tiles, answers, strict=True):
        found = extract(answer["class_probs"], answer["boundary_prob"], parameters)
        result = TileResult(found.instance_map, found.nuclei, answer["tissue_probs"], _RELEASE)
        results.append((tile, result))
    return results


def _answer_all(answer: Answer, tiles: list[Tile]) -> Answers:
    images = [tile.image for tile in tiles]
    batches = (images[first : first + BATCH] for first in range(0, len(images), BATCH))
    return [tile for batch in batches for tile in _answers(answer, batch)]


def _answers(answer: Answer, tiles: list[np.ndarray]) -> Answers:
    # Always a full batch, as every other size would be compiled anew.
    batch = np.zeros((BATCH, TILE, TILE, 3), np.uint8)
    batch[: len(tiles)] = tiles
    arrays = answer(batch)
    return [{name: array[row] for name, array in arrays.items()} for row in range(len(tiles))]
