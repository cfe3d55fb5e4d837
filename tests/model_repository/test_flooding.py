"""The watershed against its definition, spelled out pixel by pixel."""

from __future__ import annotations

from collections import defaultdict

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from instances import Parameters, extract
from instances.contours import trace_contours
from instances.holes import fill_holes
from instances.watershed import watershed
from probabilities import SCENES, renumbered, scene

_SMALLEST_SEED = 6


@given(SCENES, st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.sampled_from([1, 16, 64]))
@settings(max_examples=60, deadline=None)
def test_every_pixel_goes_to_the_seed_that_reaches_it_first(
    maps: tuple[np.ndarray, np.ndarray], foreground: float, boundary: float, step: int
) -> None:
    class_probs, boundary_prob = maps
    boundary_prob = boundary_prob // step * step  # few levels: many pixels are reached at once
    parameters = Parameters(foreground, boundary, min_area=0, min_confidence=0)
    found = extract(class_probs, boundary_prob, parameters).instance_map
    inside = 255 - class_probs[..., 0] > int(255 * foreground)
    expected = _flood(inside, boundary_prob, int(255 * boundary))
    assert np.array_equal(renumbered(found * inside), renumbered(expected))


def test_kernels_are_compiled_once_for_images_of_all_sizes() -> None:
    for side in (64, 1500, 20):
        extract(*scene(side, side, seed=1, smooth=3))
    assert all(len(kernel.signatures) == 1 for kernel in (watershed, fill_holes, trace_contours))


def _flood(inside: np.ndarray, boundary_prob: np.ndarray, boundary_level: int) -> np.ndarray:
    """Labels of the foreground, int [H, W]; waves of pixels start from the seeds, lowest first."""
    interior = (inside & (boundary_prob <= boundary_level)).astype(np.uint8)
    _, components, stats, _ = cv2.connectedComponentsWithStats(interior, connectivity=4)
    components[stats[components, cv2.CC_STAT_AREA] < _SMALLEST_SEED] = 0
    labels = np.where(inside, components, -1)  # 0: not yet reached
    strengths = np.bincount(components.ravel(), (256 - boundary_prob.astype(int)).ravel() ** 2)

    waves = defaultdict(list)
    waves[0] = [list(zip(*np.nonzero(labels > 0), strict=True))]
    for level in range(256):
        for wave in waves[level]:  # grows meanwhile
            reached = defaultdict(list)
            for y, x in wave:
                for place in ((y - 1, x), (y, x - 1), (y, x + 1), (y + 1, x)):
                    if _within(place, labels.shape) and labels[place] == 0:
                        reached[place].append(labels[y, x])
            following = defaultdict(list)
            for place, by in reached.items():
                labels[place] = max(by, key=lambda label: strengths[label])
                following[max(level, boundary_prob[place])].append(place)
            for higher, places in following.items():
                waves[higher].append(places)

    _, rest = cv2.connectedComponents((labels == 0).astype(np.uint8), connectivity=4)
    return np.where(labels == 0, labels.max() + rest, np.maximum(labels, 0))


def _within(place: tuple[int, int], shape: tuple[int, ...]) -> bool:
    return 0 <= place[0] < shape[0] and 0 <= place[1] < shape[1]
