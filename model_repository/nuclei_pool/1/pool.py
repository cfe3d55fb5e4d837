"""Average features over nuclei. Needs only numpy."""

from __future__ import annotations

from typing import Final

import numpy as np

MOST: Final = 4096
"""Nuclei in one patch; more are refused."""


def pool(features: np.ndarray, instance_map: np.ndarray) -> np.ndarray:
    """Average features over the pixels of each nucleus.

    Parameters
    ----------
    features
        float16 [G, G, D], on a grid over the patch; between its places they are interpolated
        linearly, beyond the outermost ones they are constant.
    instance_map
        uint16 [S, S]; 0 is background, ids begin with 1 and may have gaps. S is a multiple of G.

    Returns
    -------
    np.ndarray
        float16 [n, D], where n is the highest id: row i - 1 describes id i, zeros without pixels.

    Raises
    ------
    ValueError
        If an id is above `MOST`.
    """
    count = int(instance_map.max())
    if count > MOST:
        raise ValueError(
            f"instance_map holds the id {count:,}; a patch may have at most {MOST:,} nuclei, "
            "numbered from 1."
        )
    rows, columns = np.nonzero(instance_map)
    nuclei = instance_map[rows, columns].astype(np.int64) - 1
    grid, side = features.shape[0], instance_map.shape[0]
    places = grid * grid
    weights = np.zeros(count * places, np.float64)
    for row, down in _neighbours(rows, grid / side, grid):
        for column, right in _neighbours(columns, grid / side, grid):
            at = nuclei * places + row * grid + column
            weights += np.bincount(at, down * right, count * places)
    weights = weights.reshape(count, places)
    used = np.flatnonzero(weights.any(axis=0))
    areas = np.maximum(np.bincount(nuclei, minlength=count), 1)
    flat = features.reshape(places, -1)[used].astype(np.float32)
    sums = weights[:, used].astype(np.float32) @ flat
    return (sums / areas[:, None]).astype(np.float16)


def _neighbours(pixels: np.ndarray, per: float, grid: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The two places of the grid next to each pixel, and their weights."""
    place = np.clip((pixels + 0.5) * per - 0.5, 0, grid - 1)
    first = np.minimum(place.astype(np.int64), grid - 2)
    return [(first, 1 - (place - first)), (first + 1, place - first)]
