"""Probabilities of nuclei: of ones that are known, and of arbitrary ones for hypothesis."""

from __future__ import annotations

import cv2
import instances
import numpy as np
from hypothesis import strategies as st
from instances import Parameters
from skimage.segmentation import find_boundaries


def column(name: str) -> int:
    return instances.COLUMNS.index(name)


def probabilities(
    truth: np.ndarray, classes: np.ndarray | None = None, channels: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """What a perfect network says: certain classes, and the two-pixel outlines it is trained on."""
    classes = np.ones(truth.max(), np.int64) if classes is None else classes
    class_map = np.concatenate([[0], classes])[truth]
    class_probs = (255 * (class_map[..., None] == np.arange(channels))).astype(np.uint8)
    outlines = find_boundaries(truth, connectivity=1, mode="thick")
    return class_probs, (255 * outlines).astype(np.uint8)


def disc(truth: np.ndarray, y: float, x: float, radius: float, instance: int) -> None:
    grid_y, grid_x = np.ogrid[: truth.shape[0], : truth.shape[1]]
    truth[(grid_y - y) ** 2 + (grid_x - x) ** 2 <= radius**2] = instance


def touching() -> np.ndarray:
    """Two discs that share a straight edge, int32 [64, 64]."""
    truth = np.zeros((64, 64), np.int32)
    disc(truth, 32, 20, 12, 1)
    disc(truth, 32, 44, 12, 2)
    truth[:, :32][truth[:, :32] == 2] = 1
    assert ((truth[:, 31] == 1) & (truth[:, 32] == 2)).any()
    return truth


def renumbered(instance_map: np.ndarray) -> np.ndarray:
    """The same regions with ids in raster order of their first pixels."""
    ids, firsts = np.unique(instance_map[instance_map > 0], return_index=True)
    lookup = np.zeros(int(instance_map.max()) + 1, np.int64)
    lookup[ids[np.argsort(firsts)]] = np.arange(1, ids.size + 1)
    return lookup[instance_map]


def scene(height: int, width: int, seed: int, *, smooth: float) -> tuple[np.ndarray, np.ndarray]:
    """Blobs of random class probabilities and a random boundary map."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(height, width, 7))
    logits = np.stack(
        [cv2.GaussianBlur(logits[..., i], (0, 0), smooth) * smooth * 5 for i in range(7)], axis=-1
    )
    odds = np.exp(logits[..., :6])
    odds[..., 0] *= 2
    class_probs = np.rint(255 * odds / odds.sum(axis=-1, keepdims=True)).astype(np.uint8)
    boundary = np.rint(255 / (1 + np.exp(-logits[..., 6]))).astype(np.uint8)
    return class_probs, boundary


SCENES = st.builds(
    scene,
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(0, 2**32 - 1),
    smooth=st.floats(0.6, 6),
)
PARAMETERS = st.builds(
    Parameters,
    foreground_threshold=st.floats(0.05, 0.95),
    boundary_threshold=st.floats(0.05, 0.95),
    min_area=st.integers(0, 60),
)
