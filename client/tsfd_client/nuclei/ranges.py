"""Ranges of whole numbers, vectorised."""

from __future__ import annotations

import numpy as np


def ranges(begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which range each number is of, and the numbers from each begin to its end, in turn.

    Parameters
    ----------
    begins, ends
        int64 [n]; the end is not part of its range.

    Returns
    -------
    which, numbers
        int64 [k] both.
    """
    lengths = ends - begins
    which = np.repeat(np.arange(len(lengths)), lengths)
    before = np.cumsum(lengths) - lengths
    return which, np.arange(len(which)) - before[which] + begins[which]
