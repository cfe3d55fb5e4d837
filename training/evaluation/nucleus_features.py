"""Features of annotated nuclei, with the classes that their annotators gave.

    found = collect(folder, entries, weights)
    found.features, found.shares, found.allowed

Both are means over a nucleus' pixels, of all tiles that it is in. As the network takes minutes,
what it said of an image is kept in a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import ops
from scipy import sparse

from training.data.annotated import MPP
from training.data.manifest import examine
from training.evaluation.trusted import trusted_instances
from training.exported import file_sha256
from training.model import weights
from training.model.classes import GRID, features
from tsfd_client.classes.marked import Nuclei
from tsfd_client.contract import TILE
from tsfd_client.stitching.tiling import Tile, tiling

_BATCH = 8
FEW_PIXELS = 20


@dataclass(frozen=True, eq=False)
class Annotations(Nuclei):
    """Annotated nuclei.

    Attributes
    ----------
    features, shares
        As of `Nuclei`: float32 [n, D] and [n, 5].
    allowed
        uint8 [n], the classes that a nucleus may have: sum of ``2 ** class``.
    fine
        uint8 [n], Lizard's own class, 0 if there is none.
    places
        float32 [n, 2], centre in micrometres.
    sources, groups, images
        str [n], names of the set, the patient or slide, and the image.
    """

    allowed: np.ndarray
    fine: np.ndarray
    places: np.ndarray
    sources: np.ndarray
    groups: np.ndarray
    images: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Annotations:
        """Restrict to some nuclei, chosen by indices or a mask."""
        return Annotations(**{name: values[chosen] for name, values in vars(self).items()})


def collect(folder: Path, entries: Sequence[dict], path: Path, kept: Path) -> Annotations:
    """Features of all nuclei of some entries of a manifest.

    Parameters
    ----------
    folder, entries
        Of the manifest.
    path
        Weights file.
    kept
        Folder where the features of images are kept from one call to the next.

    Raises
    ------
    weights.WeightsError
        If the weights cannot be used.
    """
    digest = file_sha256(path)[:12]
    files = [kept / digest / entry["image"].replace("/", "__") for entry in entries]
    files = [file.with_suffix(".npz") for file in files]
    missing = [
        (entry, file) for entry, file in zip(entries, files, strict=True) if not file.exists()
    ]
    if missing:
        network = _with_features(weights.load(path)[0])
        (kept / digest).mkdir(parents=True, exist_ok=True)
        for number, (entry, file) in enumerate(missing, start=1):
            _write(file, folder, entry, network)
            print(f"\rfeatures of {number} of {len(missing)} images", end="", flush=True)
        print()
    return _joined(entries, files)


def _joined(entries: Sequence[dict], files: Sequence[Path]) -> Annotations:
    columns: dict[str, list[np.ndarray]] = {}
    for entry, file in zip(entries, files, strict=True):
        with np.load(file) as said:
            number = len(said["allowed"])
            for name in ("features", "shares", "allowed", "fine", "places"):
                columns.setdefault(name, []).append(said[name])
        for name, key in (("sources", "set"), ("groups", "group"), ("images", "image")):
            columns.setdefault(name, []).append(np.full(number, entry[key]))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    joined["features"] = joined["features"].astype(np.float32)
    return Annotations(**joined)


def _with_features(network: keras.Model) -> keras.Model:
    classes = network.output["class_logits"].shape[-1] - 1
    model = keras.Model(
        network.input,
        {
            "features": features(network)[..., :-classes],
            "shares": ops.softmax(network.output["class_logits"], axis=-1),
        },
    )
    model.compile(jit_compile=keras.backend.backend() == "jax")
    return model


def _write(file: Path, folder: Path, entry: dict, network: keras.Model) -> None:
    annotated = examine(folder, entry).annotated
    with np.load(folder / entry["masks"]) as masks:
        fine = masks["fine"] if "fine" in masks else np.zeros(len(masks["label"]), np.uint8)
    instances = trusted_instances(annotated.instances, annotated.ignore)
    number = len(annotated.allowed)
    features, shares, seen = 0.0, 0.0, np.zeros((number, 1))
    for tile, said in _answers(network, list(tiling(annotated.image, MPP, MPP))):
        inside = cut(instances, tile)
        pixels = np.flatnonzero(inside)
        member = sparse.csr_matrix(
            (np.ones(len(pixels)), (inside[pixels], pixels)), (number, TILE * TILE)
        )
        features = features + (member @ UPSAMPLING) @ said["features"].reshape(GRID * GRID, -1)
        shares = shares + member @ said["shares"].reshape(TILE * TILE, -1)[:, 1:]
        seen += np.asarray(member.sum(axis=1))
    kept = np.flatnonzero(seen[:, 0] >= FEW_PIXELS)
    np.savez(
        file,
        features=(features[kept] / seen[kept]).astype(np.float16),
        shares=(shares[kept] / seen[kept]).astype(np.float32),
        allowed=annotated.allowed[kept],
        fine=fine[kept - 1],
        places=_centres(instances, number)[kept],
    )


def _answers(
    network: keras.Model, tiles: list[Tile]
) -> Iterator[tuple[Tile, dict[str, np.ndarray]]]:
    for first in range(0, len(tiles), _BATCH):
        some = tiles[first : first + _BATCH]
        batch = np.zeros((_BATCH, TILE, TILE, 3), np.uint8)
        batch[: len(some)] = [tile.image for tile in some]
        answer = network.predict_on_batch(batch)
        for row, tile in enumerate(some):
            yield tile, {name: array[row] for name, array in answer.items()}


def cut(instances: np.ndarray, tile: Tile) -> np.ndarray:
    """Ids within a tile, row by row; int64 [256 * 256]."""
    inside = np.zeros((TILE, TILE), np.int64)
    part = instances[tile.y : tile.y + TILE, tile.x : tile.x + TILE]
    inside[: part.shape[0], : part.shape[1]] = part
    return inside.ravel()


def _centres(instances: np.ndarray, number: int) -> np.ndarray:
    rows, columns = np.indices(instances.shape)
    ids = instances.ravel()
    area = np.maximum(np.bincount(ids, minlength=number), 1)
    x, y = (np.bincount(ids, at.ravel(), minlength=number) / area for at in (columns, rows))
    return (MPP * np.column_stack([x, y])).astype(np.float32)


def _upsampling() -> sparse.csr_matrix:
    """The grid's bilinear upsampling to a tile, [256 * 256, 64 * 64]: half-pixel centres."""
    centres = (np.arange(TILE) + 0.5) * GRID / TILE - 0.5
    below = np.floor(centres).astype(np.int64)
    line = np.zeros((TILE, GRID))
    for near, weight in ((below, 1 - (centres - below)), (below + 1, centres - below)):
        np.add.at(line, (np.arange(TILE), np.clip(near, 0, GRID - 1)), weight)
    return sparse.csr_matrix(sparse.kron(line, line))


UPSAMPLING = _upsampling()
