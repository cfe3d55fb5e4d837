"""The post-processing of TSFD-Net's authors, step by step with scikit-image.

Ilyas et al., Neural Networks 151 (2022), doi 10.1016/j.neunet.2022.02.020. ``python -m
bench.postprocess`` compares with it; `training.evaluation.reference` has the same steps, compiled.
"""

from __future__ import annotations

import numpy as np
from skimage.measure import label
from skimage.morphology import closing, dilation, erosion, remove_small_objects, thin

_SQUARE = np.ones((3, 3), bool)
_SMALLEST = 22  # pixels


def split(class_probs: np.ndarray, boundary_prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the instance map int32 [H, W] and class map uint8 [H, W] of one image.

    Parameters
    ----------
    class_probs
        uint8 [H, W, 6]: probabilities times 255 of background and the classes 1..5.
    boundary_prob
        uint8 [H, W]: probability times 255 of a boundary.
    """
    class_map = _majority(_class_map(class_probs / 255))
    class_map[thin(boundary_prob / 255 > 0.5)] = 0
    instances = np.zeros(class_map.shape, np.int32)
    found = 0
    for c in range(1, class_probs.shape[2]):
        pieces = label(erosion(class_map == c, _SQUARE), connectivity=2)
        grown = dilation(pieces, _SQUARE)
        instances[grown > 0] = grown[grown > 0] + found
        found += pieces.max()
    return instances, class_map


def _class_map(probs: np.ndarray) -> np.ndarray:
    masks = np.zeros(probs.shape, bool)
    for c in range(1, probs.shape[2]):
        large = remove_small_objects(probs[..., c] > 0.5, max_size=_SMALLEST - 1)
        masks[..., c] = closing(large, _SQUARE)
    return np.argmax(masks, axis=2).astype(np.uint8)


def _majority(class_map: np.ndarray) -> np.ndarray:
    """Give every connected component the class of most of its pixels."""
    components = label(class_map > 0, connectivity=2)
    voted = np.zeros_like(class_map)
    for i in range(1, components.max() + 1):
        inside = components == i
        voted[inside] = np.bincount(class_map[inside]).argmax()
    return voted
