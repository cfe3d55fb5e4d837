"""Nuclei that a network finds in annotated images, and the features that a server gives of them.

    for image in found(folder, entries, weights, kept):
        image.parquet, image.features

Both are as `tsfd segment` and `tsfd adapt` get them from a server. As the network takes minutes,
what it said of an image is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import instances
import keras
import numpy as np
from scipy import sparse

from training.data.annotated import MPP
from training.data.manifest import examine
from training.evaluation.in_process import BATCH, Probabilities
from training.evaluation.nucleus_features import FEW_PIXELS, UPSAMPLING, cut
from training.exported import file_sha256
from training.model import weights
from training.model.classes import GRID, features
from training.model.serving import probabilities
from training.target import Target
from tsfd_client.classes.features import features_of
from tsfd_client.contract import TILE
from tsfd_client.files import PARQUET
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.nuclei.table import Info, Writer, read_batches
from tsfd_client.pixels.in_memory import InMemory
from tsfd_client.pixels.scale import Scale
from tsfd_client.pixels.slide import Slide
from tsfd_client.stitching.tiling import Tile, tiling


@dataclass(frozen=True, eq=False)
class Found:
    """The nuclei found in an image, at 0.25 µm per pixel.

    Attributes
    ----------
    entry
        Of the manifest.
    parquet
        Their table.
    features
        float16 [n, F + C], by row of the table.
    given
        Means over the annotated nuclei instead, float16 [m + 1, F + C] by id; NaN for nuclei of a
        few pixels.
    """

    entry: dict
    parquet: Path
    features: np.ndarray
    given: np.ndarray

    @property
    def centroids(self) -> np.ndarray:
        """float64 [n, 2], x and y in pixels."""
        tables = read_batches(self.parquet, ["centroid_x", "centroid_y"])
        places = [np.column_stack([table.column(0), table.column(1)]) for table in tables]
        return np.concatenate([np.empty((0, 2)), *places])


def find(folder: Path, entries: Sequence[dict], path: Path, kept: Path) -> list[Found]:
    """Find the nuclei of some entries of a manifest.

    Parameters
    ----------
    folder, entries
        Of the manifest.
    path
        Weights file.
    kept
        Folder where results and features are kept from one call to the next.

    Raises
    ------
    training.model.weights.WeightsError
        If the weights cannot be used.
    """
    results = [kept / "found" / file_sha256(path)[:12] / _name(entry) for entry in entries]
    missing = [
        (entry, result)
        for entry, result in zip(entries, results, strict=True)
        if not _features(result).is_file()
    ]
    network = _Network(path) if missing else None
    for number, (entry, result) in enumerate(missing, start=1):
        network.find(folder, entry, result)
        print(f"\rnuclei of {number} of {len(missing)} images", end="", flush=True)
    if missing:
        print()
    return [_read(entry, result) for entry, result in zip(entries, results, strict=True)]


def _read(entry: dict, result: Path) -> Found:
    with np.load(_features(result)) as said:
        return Found(entry, result / PARQUET, said["found"], said["given"])


def _name(entry: dict) -> str:
    return entry["image"].replace("/", "__")


def _features(result: Path) -> Path:
    return result / "features.npz"


class _Network:
    """A network with its features, as it is served."""

    def __init__(self, path: Path) -> None:
        network, _ = weights.load(path)
        image = keras.Input((TILE, TILE, 3), dtype="uint8", name="image")
        described = keras.Model(network.input, {**network.output, "features": features(network)})
        outputs = described(image, training=False)
        self._model = keras.Model(
            image, {**probabilities(outputs), "features": outputs["features"]}
        )
        self._model.compile(jit_compile=keras.backend.backend() == "jax")
        self._target: Target = weights.target(path)
        self._parameters: instances.Parameters = weights.parameters(path)

    def find(self, folder: Path, entry: dict, result: Path) -> None:
        annotated = examine(folder, entry).annotated
        plan = tiling(annotated.image, MPP, self._target.mpp)
        tiles = list(plan)
        answers = self._answers(tiles)
        nuclei = Probabilities(plan, tiles, answers, self._target).nuclei(
            self._parameters, self._answers
        )
        result.mkdir(parents=True, exist_ok=True)
        _write(nuclei, entry, result)
        slide = Slide(result, InMemory(annotated.image, Scale(MPP)), MPP)
        asked = _Answered(tiles, answers)
        rows = np.zeros((len(nuclei), answers[0]["features"].shape[-1]), np.float16)
        if len(nuclei):
            for ids, values in features_of(result, slide.at(self._target.mpp), asked):
                rows[ids - 1] = values
        given = _given(annotated.instances, tiles, answers)
        np.savez(_features(result), found=rows, given=given)

    def _answers(self, tiles: list[Tile]) -> list[dict[str, np.ndarray]]:
        answers = []
        for first in range(0, len(tiles), BATCH):
            some = tiles[first : first + BATCH]
            batch = np.zeros((BATCH, TILE, TILE, 3), np.uint8)
            batch[: len(some)] = [tile.image for tile in some]
            said = self._model.predict_on_batch(batch)
            answers += [{name: rows[n] for name, rows in said.items()} for n in range(len(some))]
        return answers


def _write(nuclei: Nuclei, entry: dict, result: Path) -> None:
    height, width = nuclei.instance_map.shape
    about = Info(entry["image"], width, height, nuclei.mpp, nuclei.scale, nuclei.release)
    with Writer(result / PARQUET, about) as writer:
        writer.write(nuclei.table())


class _Answered:
    """In place of a server: what the network said of the tiles of an image."""

    max_in_flight = 1
    batch_size = BATCH

    def __init__(self, tiles: list[Tile], answers: list[dict[str, np.ndarray]]) -> None:
        self._features = {
            tile.image.tobytes(): answer["features"]
            for tile, answer in zip(tiles, answers, strict=True)
        }

    def features(self, tiles: np.ndarray, instance_maps: np.ndarray) -> list[np.ndarray]:
        """As of `tsfd_client.server.client.Client`."""
        return [
            _means(self._features[tile.tobytes()], ids)
            for tile, ids in zip(tiles, instance_maps, strict=True)
        ]


def _means(grid: np.ndarray, instance_map: np.ndarray) -> np.ndarray:
    """Means over the pixels of each nucleus, as of the server's model ``nuclei_pool``."""
    sums, areas = _sums(grid, instance_map.ravel().astype(np.int64), int(instance_map.max()))
    return (sums / np.maximum(areas, 1))[1:].astype(np.float16)


def _given(ids: np.ndarray, tiles: list[Tile], answers: list[dict[str, np.ndarray]]) -> np.ndarray:
    """Means over the pixels of annotated nuclei, of all tiles that they are in."""
    number = int(ids.max())
    parts = [
        _sums(answer["features"], cut(ids, tile), number)
        for tile, answer in zip(tiles, answers, strict=True)
    ]
    sums, areas = (sum(part) for part in zip(*parts, strict=True))
    return np.where(areas >= FEW_PIXELS, sums / np.maximum(areas, 1), np.nan).astype(np.float16)


def _sums(grid: np.ndarray, ids: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the pixels of each id 0..number of a tile, and numbers of pixels; 0 stays 0."""
    pixels = np.flatnonzero(ids)
    member = sparse.csr_matrix(
        (np.ones(len(pixels)), (ids[pixels], pixels)), (number + 1, TILE * TILE)
    )
    sums = (member @ UPSAMPLING) @ grid.reshape(GRID * GRID, -1)
    return sums, np.asarray(member.sum(axis=1))
