"""A small PanNuke in the layout of the release, made of fields whose nuclei are known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from samples.synthetic import generate
from training.model import weights

TISSUES_OF_PATCHES = ("Breast", "Colon", "Bile-duct")
"""Tissue of each patch of a fold."""

NUCLEI_OF_PATCHES = (24, 16, 0)
"""Nuclei of each patch of a fold."""


_networks: dict[str, tuple[keras.Model, str]] = {}


@pytest.fixture(scope="module")
def built_once() -> Iterator[None]:
    """A network that was loaded before is not built and compiled again, whatever its thresholds."""
    load = weights.load

    def known(path: Path) -> tuple[keras.Model, str]:
        if not path.is_file():
            return load(path)
        with np.load(path) as file:
            arrays = (file[name].tobytes() for name in sorted(file.files) if name != "parameters")
            key = hashlib.sha256(b"".join(arrays)).hexdigest()
        if key not in _networks:
            _networks[key] = load(path)
        return _networks[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "load", known)
        yield


@pytest.fixture(scope="session")
def pannuke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``Fold 1`` to ``Fold 3`` of three patches each; copy a fold to change it.

    Every class occurs in the first patch of a fold, ids have gaps, and the first neoplastic nucleus
    reaches over its neighbourhood, nuclei of other classes included.
    """
    folder = tmp_path_factory.mktemp("data") / "PanNuke"
    for fold in (1, 2, 3):
        patches = [_patch(n, seed=10 * fold + i) for i, n in enumerate(NUCLEI_OF_PATCHES)]
        images = folder / f"Fold {fold}" / "images" / f"fold{fold}"
        masks = folder / f"Fold {fold}" / "masks" / f"fold{fold}"
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        np.save(images / "images.npy", np.stack([image for image, _ in patches]))
        np.save(images / "types.npy", np.array(TISSUES_OF_PATCHES))
        np.save(masks / "masks.npy", np.stack([mask for _, mask in patches]))
    return folder


def _patch(nuclei: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Image float64 [256, 256, 3] and masks float64 [256, 256, 6]."""
    field = generate(256, 256, nuclei=nuclei, seed=seed)
    # Synthetic fields have no dead nuclei.
    classes = [4 if i % 8 == 3 else int(c) for i, c in enumerate(field.classes)]
    masks = np.zeros((256, 256, 6))
    for instance, class_id in enumerate(classes, start=1):
        masks[field.instance_map == instance, class_id - 1] = 3 * instance + 2
    if 1 in classes:
        own = masks[..., 0]
        first = own[own > 0].min()
        reach = cv2.dilate((own == first).astype(np.uint8), np.ones((21, 21))) > 0
        own[reach & (own == 0)] = first
    masks[..., 5] = ~masks[..., :5].any(axis=-1)
    return field.image.astype(np.float64), masks
