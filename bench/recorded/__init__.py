"""A model repository whose network answers from a record.

model.py    the network's place: Triton runs it
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from bench.postprocess import scene
from conversion.release import release_file
from serving.server import ArtefactMissingError
from tsfd_client.contract import TISSUES
from tsfd_client.stitching.grid import OVERLAP, STEP

_NUCLEI = 23  # in STEP x STEP pixels, so 30 in a patch
_RADII = (13, 14, 15)  # pixels: neighbouring patches differ a little in where a nucleus ends


def make(source: Path, folder: Path) -> Path:
    """Copy a converted model repository, with recorded answers in the network's place.

    A patch is answered with 30 nuclei whatever it shows. The pattern repeats from one tile of the
    client's grid to the next, so that neighbours agree where they overlap.

    Parameters
    ----------
    source
        The repository.
    folder
        Where to make ``model_repository``.

    Returns
    -------
    Path
        The new repository.

    Raises
    ------
    ArtefactMissingError
        If `source` has not been converted, or to other classes than those of the record.
    """
    class_probs, boundary_prob = zip(*(_patch(radius) for radius in _RADII), strict=True)
    release = release_file(source)
    if not release.is_file():
        raise ArtefactMissingError(f"{release} is missing: run `make convert`.")
    classes = len(json.loads(release.read_text())["classes"])
    if classes != class_probs[0].shape[-1] - 1:
        raise ArtefactMissingError(
            f"{source} has {classes} classes, the recorded answers have "
            f"{class_probs[0].shape[-1] - 1}: run `make convert` for the shipped weights."
        )
    repository = folder / "model_repository"
    shutil.copytree(source, repository)
    version = repository / "tsfd_net" / "1"
    shutil.copy(Path(__file__).with_name("model.py"), version)
    np.savez(
        version / "recorded.npz",
        class_probs=class_probs,
        boundary_prob=boundary_prob,
        tissue_probs=np.full((len(_RADII), len(TISSUES)), 1 / len(TISSUES), np.float32),
    )
    return repository


def _patch(radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a patch: uint8 [256, 256, 6] and [256, 256]."""
    class_probs, boundary_prob = scene(STEP, _NUCLEI, radius=radius)
    beyond = ((0, OVERLAP), (0, OVERLAP))
    whole = np.pad(class_probs, (*beyond, (0, 0)), mode="wrap")
    return whole, np.pad(boundary_prob, beyond, mode="wrap")
