"""Shapes of nuclei, measured on their pixels as scikit-image's `regionprops` measures them.

Vectorised over nuclei: from their outlines, which run along the edges of pixels, except for the
perimeter, which needs the label image.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tsfd_client.nuclei.ranges import ranges

# Length of the outline at a pixel of the border, by what is around it: 10 for each neighbour on the
# border across a corner, 2 across an edge, 1 for itself (Benkrid and Crookes).
_LENGTHS = np.zeros(50)
_LENGTHS[[5, 7, 15, 17, 25, 27]] = 1
_LENGTHS[[21, 33]] = np.sqrt(2)
_LENGTHS[[13, 23]] = (1 + np.sqrt(2)) / 2


def perimeters(labels: np.ndarray, nuclei: int) -> np.ndarray:
    """Perimeter of each nucleus.

    Parameters
    ----------
    labels
        uint32 [h, w], whose first and last rows and columns are 0; number i is nucleus i - 1.
    nuclei
        Their number, n.

    Returns
    -------
    float64 [n]
        Pixels.
    """
    inner = labels[1:-1, 1:-1]
    is_border = np.zeros(inner.shape, bool)
    for neighbour in (labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:]):
        is_border |= neighbour != inner
    border = np.zeros_like(labels)
    np.copyto(border[1:-1, 1:-1], inner, where=is_border)
    flat, width = border.ravel(), labels.shape[1]
    places = np.flatnonzero(flat)
    own, around = flat[places], np.ones(len(places), np.int64)
    for step in (1, width):
        for sign in (-1, 1):
            around += 2 * (flat[places + sign * step] == own)
    for step in (width - 1, width + 1):
        for sign in (-1, 1):
            around += 10 * (flat[places + sign * step] == own)
    return np.bincount(own, _LENGTHS[around], nuclei + 1)[1:]


def ellipses(offsets: np.ndarray, corners: np.ndarray) -> dict[str, np.ndarray]:
    """The ellipse of the same second moments as each nucleus.

    Parameters
    ----------
    offsets
        int64 [n + 1]; ring i is ``corners[offsets[i] : offsets[i + 1]]``.
    corners
        int64 [m, 2]; x, y. Every ring is closed and runs along edges of pixels.

    Returns
    -------
    dict
        float64 [n] each: ``axis_major_length`` and ``axis_minor_length``, pixels;
        ``eccentricity``; ``orientation``, radians from the y axis to the major axis.
    """
    # Relative to each nucleus's own first corner: small whole numbers stay exact.
    own = corners - corners[offsets[:-1]].repeat(np.diff(offsets), axis=0)
    (x0, y0), (x1, y1) = own.T, np.roll(own, -1, axis=0).T
    cross = x0 * y1 - x1 * y0
    cross[offsets[1:] - 1] = 0  # the step from the end of a ring to the next is no edge

    def total(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values * cross, offsets[:-1])

    twice = np.add.reduceat(cross, offsets[:-1])
    x, y = total(x0 + x1) / (3 * twice), total(y0 + y1) / (3 * twice)
    # Second moments about the centroid; of a pixel, they count only its centre.
    xx = total(x0 * x0 + x0 * x1 + x1 * x1) / (6 * twice) - x * x - 1 / 12
    yy = total(y0 * y0 + y0 * y1 + y1 * y1) / (6 * twice) - y * y - 1 / 12
    xy = total(2 * (x0 * y0 + x1 * y1) + x0 * y1 + x1 * y0) / (12 * twice) - x * y
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    major, minor = np.maximum(middle + half, 0), np.maximum(middle - half, 0)
    with np.errstate(invalid="ignore"):  # a single pixel
        eccentricity = np.nan_to_num(np.sqrt(1 - minor / major))
    return {
        "axis_major_length": 4 * np.sqrt(major),
        "axis_minor_length": 4 * np.sqrt(minor),
        "eccentricity": eccentricity,
        "orientation": np.where(
            xx == yy, np.where(xy > 0, np.pi / 4, -np.pi / 4), np.arctan2(2 * xy, yy - xx) / 2
        ),
    }


def convex_areas(offsets: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Pixels whose centres lie in or on the convex hull of each nucleus, int64 [n].

    The hull is that of the middles of the pixels' edges. Parameters are those of `ellipses`.
    """
    tops = np.minimum.reduceat(corners[:, 1], offsets[:-1])
    heights = np.maximum.reduceat(corners[:, 1], offsets[:-1]) - tops
    ends = np.cumsum(heights)  # rows of all nuclei, one after the other; `first` is row 0 of each
    first = ends - heights - tops
    left, right = _rows(offsets, corners, first, ends[-1])
    y = np.arange(ends[-1]) - first.repeat(heights)
    # Middles of edges in half pixels, those of a row's first and last pixel.
    middles = np.stack(
        [
            *((2 * left - 1, 2 * y), (2 * left, 2 * y - 1), (2 * left, 2 * y + 1)),
            *((2 * right + 1, 2 * y), (2 * right, 2 * y - 1), (2 * right, 2 * y + 1)),
        ],
    )
    middles = np.ascontiguousarray(middles.transpose(2, 0, 1), np.int32)
    hulls = [cv2.convexHull(part.reshape(-1, 2)) for part in np.split(middles, ends[:-1])]
    areas: np.ndarray = np.add.reduceat(_spans(hulls, first, ends[-1]), ends - heights)
    return areas


def _rows(
    offsets: np.ndarray, corners: np.ndarray, first: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last pixel of each row of each nucleus, int64 [rows] both."""
    nucleus = np.arange(len(first)).repeat(np.diff(offsets))
    (x, y0), y1 = corners.T, np.roll(corners[:, 1], -1)
    is_upright = y0 != y1
    is_upright[offsets[1:] - 1] = False  # the step from the end of a ring to the next is no edge
    x, y0, y1, nucleus = x[is_upright], y0[is_upright], y1[is_upright], nucleus[is_upright]
    begins = np.minimum(y0, y1) + first[nucleus]
    edge, row = ranges(begins, begins + np.abs(y1 - y0))
    return _extremes(row, x[edge], x[edge] - 1, rows)


def _spans(hulls: Sequence[np.ndarray], first: np.ndarray, rows: int) -> np.ndarray:
    """Pixels of each row of each nucleus whose centres lie in its hull, int64 [rows]."""
    sizes = np.array([len(hull) for hull in hulls])
    ends = np.cumsum(sizes)
    begin = np.concatenate(hulls)[:, 0].astype(np.int64)
    end = np.roll(begin, -1, axis=0)
    end[ends - 1] = begin[ends - sizes]
    is_down = (begin[:, 1] < end[:, 1])[:, None]
    (x0, y0), (x1, y1) = np.where(is_down, begin, end).T, np.where(is_down, end, begin).T
    low = -(-y0 // 2)
    edge, row = ranges(low, np.where(y0 < y1, y1 // 2 + 1, low))
    # Where each edge crosses the middles of rows, exactly: `across` / `down` pixels.
    down = 2 * (y1 - y0)[edge]
    across = x0[edge] * (y1 - y0)[edge] + (x1 - x0)[edge] * (2 * row - y0[edge])
    nucleus = np.arange(len(hulls)).repeat(sizes)
    left, right = _extremes(row + first[nucleus[edge]], -(-across // down), across // down, rows)
    pixels: np.ndarray = right + 1 - left
    return pixels


def _extremes(
    row: np.ndarray, lows: np.ndarray, highs: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """The least of `lows` and the most of `highs` in each row, int64 [rows] both."""
    least, most = np.full(rows, np.iinfo(np.int64).max), np.full(rows, np.iinfo(np.int64).min)
    np.minimum.at(least, row, lows)
    np.maximum.at(most, row, highs)
    return least, most
