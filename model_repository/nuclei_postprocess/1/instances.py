"""Class and boundary probabilities of one image -> its nuclei: label map, table and contours.

    result = extract(class_probs, boundary_prob)
    result.instance_map   uint16 [H, W], 0 background, ids 1..n in raster order of first pixels
    result.nuclei         float32 [n, 11], one row per id, columns as in ``COLUMNS``
    result.contours       int16 [m, 2], outer contours (x, y) of all nuclei one after another

Needs numpy, numba and OpenCV only. Every kernel releases the interpreter lock, so a batch is
processed by calling `extract` from a thread per image. Call `warm_up` once to compile.

Outside the server, put this folder on ``sys.path`` and ``import instances``.
"""

import sys
import threading
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Final

import cv2
import numba
import numpy as np

# numba's files of compiled kernels, shared by all processes, import their module by this name.
if __name__ != "instances" or __name__ not in sys.modules:
    raise ImportError(
        "instances.py must be loaded as the module `instances`: put its folder on sys.path and "
        "`import instances`."
    )

METHODS: Final = ("watershed", "reference")
COLUMNS: Final = (
    "centroid_x",
    "centroid_y",
    "x_min",
    "y_min",
    "x_max",
    "y_max",
    "area",
    "class",
    "class_prob",
    "contour_start",
    "contour_length",
)
"""Columns of ``Instances.nuclei``. Lengths are in pixels with pixel centres on whole numbers; the
box is half-open; ``class`` is 1..5; ``contour_start`` is a row of ``Instances.contours``."""

_CHANNELS = 6
_MAX_SIDE = np.iinfo(np.int16).max
_MAX_INSTANCES = np.iinfo(np.uint16).max
_MAX_CONTOUR_POINTS = 1 << 24  # contour_start travels as float32: exact up to here
_MIN_SEED_AREA = 6  # smaller interiors are gaps in a blurred boundary, not nuclei

# States of a pixel in the padded label arrays; labels themselves are positive.
_BACKGROUND = 0
_RIM = -1  # foreground that no nucleus has claimed yet
_INTERIOR = -2  # foreground away from boundaries
_FRAME = -3  # one pixel around the image, so that neighbours need no bounds check
_VISITED = -4  # background already searched for holes

_COMPILE = {"cache": True, "nogil": True}


@dataclass(frozen=True)
class Parameters:
    """How nuclei are told from background and from each other.

    Attributes
    ----------
    foreground_threshold
        A pixel is nucleus where its probability exceeds this, in (0, 1). The watershed method
        compares 1 - background, the reference method each class by itself.
    boundary_threshold
        A pixel lies on a boundary where its boundary probability exceeds this, in (0, 1).
    min_area
        Smallest nucleus in pixels. The reference method applies it to the objects of each class
        before it splits them, as its authors do.
    min_confidence
        Smallest mean of a nucleus' foreground probability (1 - background), in [0, 1). The
        reference method does without.
    method
        ``"watershed"``: marker-controlled watershed on the boundary probability.
        ``"reference"``: the post-processing of TSFD-Net's authors.

    Raises
    ------
    ValueError
        If a value is outside its range.
    """

    foreground_threshold: float = 0.55
    boundary_threshold: float = 0.5
    min_area: int = 40
    min_confidence: float = 0.8
    method: str = "watershed"

    def __post_init__(self) -> None:
        for name in ("foreground_threshold", "boundary_threshold"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < 1:
                raise ValueError(
                    f"{name} must be a number between 0 and 1 (both excluded), not {value!r}."
                )
        area = self.min_area
        if isinstance(area, bool) or not isinstance(area, Integral) or area < 0:
            raise ValueError(f"min_area must be a whole number of pixels >= 0, not {area!r}.")
        least = self.min_confidence
        if isinstance(least, bool) or not isinstance(least, Real) or not 0 <= least < 1:
            raise ValueError(f"min_confidence must be a number from 0 to below 1, not {least!r}.")
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, not {self.method!r}.")


@dataclass(frozen=True)
class Instances:
    """The nuclei of one image.

    Attributes
    ----------
    instance_map
        uint16 [H, W]: 0 background, ids 1..n in raster order of their first pixels. Every instance
        is 4-connected.
    nuclei
        float32 [n, 11]: row i - 1 describes id i, columns as in `COLUMNS`. ``class`` has the
        largest summed probability over the instance among the classes 1..5 (lowest id on a tie;
        the reference method: the class whose map held it) and ``class_prob`` is its share of the
        sum over the classes 1..5, so 0..1.
    contours
        int16 [m, 2]: pixels (x, y) of each instance's outer border, clockwise, 8-connected,
        starting at the instance's first pixel in raster order. Empty if none were asked for;
        ``contour_start`` and ``contour_length`` are 0 then.
    """

    instance_map: np.ndarray
    nuclei: np.ndarray
    contours: np.ndarray


def extract(
    class_probs: np.ndarray,
    boundary_prob: np.ndarray,
    parameters: Parameters = Parameters(),
    *,
    with_contours: bool = True,
) -> Instances:
    """Find the nuclei of one image.

    Parameters
    ----------
    class_probs
        uint8 [H, W, 6]: probabilities times 255 of background and the classes 1..5.
    boundary_prob
        uint8 [H, W]: probability times 255 that a nucleus' outline runs through the pixel.
    parameters
        Thresholds, minimum area and method.
    with_contours
        Whether to trace contours.

    Returns
    -------
    Instances

    Raises
    ------
    ValueError
        If an array has another dtype or shape, is empty or has a side over 32,767 pixels, or if
        the image holds more than 65,535 nuclei.
    """
    class_probs, boundary_prob = _checked(class_probs, boundary_prob)
    foreground_level = int(255 * parameters.foreground_threshold)
    boundary_level = int(255 * parameters.boundary_threshold)
    min_area = int(parameters.min_area)
    if parameters.method == "watershed":
        scratch = _scratch.arrays((boundary_prob.shape[0] + 2) * (boundary_prob.shape[1] + 2))
        levels = foreground_level, boundary_level
        labels, classes = _watershed(class_probs, boundary_prob, *levels, *scratch)
        areas = _areas(labels, classes.size)
        _drop_faint(class_probs, labels, areas, 255 * float(parameters.min_confidence))
    else:
        labels, classes = _reference(
            class_probs, boundary_prob, foreground_level, boundary_level, min_area
        )
        min_area = 0  # applied already, before the split
        areas = _areas(labels, classes.size)

    min_area = max(min_area, 1)  # labels without a pixel are no nuclei
    count = int(np.count_nonzero(areas[1:] >= min_area))
    if count > _MAX_INSTANCES:
        raise ValueError(
            f"The image holds {count:,} nuclei, more than the {_MAX_INSTANCES:,} an instance map "
            "can number: process it in tiles."
        )
    instance_map, nuclei, starts = _measure(class_probs, labels, areas, classes, min_area, count)
    if not with_contours:
        return Instances(instance_map, nuclei, np.zeros((0, 2), np.int16))

    stride = boundary_prob.shape[1] + 2
    lengths = _contour_lengths(labels, starts, stride)
    ends = np.cumsum(lengths)
    if count and ends[-1] > _MAX_CONTOUR_POINTS:
        raise ValueError(
            f"The contours have {ends[-1]:,} points, more than the {_MAX_CONTOUR_POINTS:,} the "
            "nuclei table can index: process the image in tiles."
        )
    nuclei[:, COLUMNS.index("contour_start")] = ends - lengths
    nuclei[:, COLUMNS.index("contour_length")] = lengths
    return Instances(instance_map, nuclei, _contours(labels, starts, lengths, stride))


def warm_up() -> None:
    """Compile (or load from numba's cache) everything `extract` runs, for both methods."""
    class_probs = np.zeros((16, 16, _CHANNELS), np.uint8)
    class_probs[..., 0] = 255
    class_probs[4:12, 4:12] = (0, 255, 0, 0, 0, 0)
    boundary_prob = np.zeros((16, 16), np.uint8)
    for method in METHODS:
        extract(class_probs, boundary_prob, Parameters(method=method))


def _checked(class_probs: np.ndarray, boundary_prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Contiguous read-only views, so that every call meets the same compiled kernels."""
    arrays = []
    for name, array, shape in (
        ("class_probs", class_probs, "[height, width, 6]"),
        ("boundary_prob", boundary_prob, "[height, width]"),
    ):
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
            found = getattr(array, "dtype", type(array).__name__)
            raise ValueError(f"{name} must be a uint8 array (probability times 255), not {found}.")
        rank = shape.count(",") + 1
        if array.ndim != rank or (rank == 3 and array.shape[2] != _CHANNELS):
            raise ValueError(f"{name} must have the shape {shape}, not {list(array.shape)}.")
        view = np.ascontiguousarray(array).view()
        view.flags.writeable = False
        arrays.append(view)

    height, width = boundary_prob.shape
    if class_probs.shape[:2] != (height, width):
        raise ValueError(
            f"class_probs covers {class_probs.shape[0]} x {class_probs.shape[1]} pixels but "
            f"boundary_prob {height} x {width}: both must be of the same image."
        )
    if height == 0 or width == 0:
        raise ValueError(f"The image is empty ({height} x {width} pixels).")
    if max(height, width) > _MAX_SIDE:
        raise ValueError(
            f"The image has {height} x {width} pixels, but contours reach only to {_MAX_SIDE:,}: "
            "process it in tiles."
        )
    return arrays[0], arrays[1]


# Labels live in flat int32 arrays of (H + 2) x (W + 2) pixels whose frame is _FRAME: the
# neighbours of the pixel with index p are p - stride, p - 1, p + 1 and p + stride.


class _Scratch(threading.local):
    """Memory of a thread, used again from call to call: to map it anew costs as much as the work.

    What images of more than 2 megapixels need is not kept.
    """

    _MOST_KEPT = 1 << 21

    def __init__(self) -> None:
        self._kept = self._allocate(0)

    def arrays(self, size: int) -> tuple[np.ndarray, ...]:
        """`_watershed`'s labels, relief, queue, following and wave_of, with anything in them."""
        if size > self._MOST_KEPT:
            return self._allocate(size)
        if size > self._kept[0].size:
            self._kept = self._allocate(size)
        return tuple(array[:size] for array in self._kept)

    @staticmethod
    def _allocate(size: int) -> tuple[np.ndarray, ...]:
        types = (np.int32, np.uint8, np.int32, np.int32, np.int32)
        return tuple(np.empty(size, dtype) for dtype in types)


_scratch = _Scratch()


@numba.njit(**_COMPILE)
def _watershed(
    class_probs,
    boundary_prob,
    foreground_level,
    boundary_level,
    labels,
    relief,
    queue,
    following,
    wave_of,
):
    """Split the foreground: interiors become seeds, which grow along low boundary probability."""
    height, width = boundary_prob.shape
    stride = width + 2
    labels[:] = _FRAME
    for y in range(height):
        p = (y + 1) * stride + 1
        for x in range(width):
            boundary = boundary_prob[y, x]
            relief[p] = boundary
            if 255 - class_probs[y, x, 0] <= foreground_level:
                labels[p] = _BACKGROUND
            elif boundary <= boundary_level:
                labels[p] = _INTERIOR
            else:
                labels[p] = _RIM
            p += 1

    strengths = _seed(labels, relief, queue, stride)
    _grow(labels, relief, strengths, following, wave_of, stride)
    count = strengths.size - 1
    for p in range(stride, labels.size - stride):  # foreground without any seed
        if labels[p] == _RIM:
            count += 1
            _flood(labels, queue, p, count, stride)
    _fill_holes(labels, queue, count, stride)
    return labels, np.zeros(count + 1, np.int64)


@numba.njit(**_COMPILE)
def _flood(labels, queue, start, label, stride):
    """Give the 4-connected component of ``start`` a label; its pixels are queue[:result]."""
    component = labels[start]
    labels[start] = label
    queue[0] = start
    size = 1
    done = 0
    while done < size:
        p = queue[done]
        done += 1
        for q in (p - stride, p - 1, p + 1, p + stride):
            if labels[q] == component:
                labels[q] = label
                queue[size] = q
                size += 1
    return size


@numba.njit(**_COMPILE)
def _seed(labels, relief, queue, stride):
    """Number the interiors 1..n; return their strengths [n + 1], used where two of them meet."""
    strengths = [0]
    for p in range(stride, labels.size - stride):
        if labels[p] == _INTERIOR:
            size = _flood(labels, queue, p, len(strengths), stride)
            if size < _MIN_SEED_AREA:
                for i in range(size):
                    labels[queue[i]] = _RIM
                continue
            strength = 0
            for i in range(size):
                strength += (256 - relief[queue[i]]) ** 2  # squared: ties are rarer
            strengths.append(strength)
    return np.array(strengths)


@numba.njit(**_COMPILE)
def _grow(labels, relief, strengths, following, wave_of, stride):
    """Flood the rims from the seeds, lowest relief first, with one queue per level.

    Pixels are queued once. Those reached in the same wave go to the strongest of the seeds that
    reach them, so that the outcome does not depend on the order in which pixels are visited.
    """
    first = np.full(256, -1, np.int32)
    last = np.full(256, -1, np.int32)
    wave = 1
    for p in range(stride, labels.size - stride):
        if labels[p] <= 0:
            continue
        wave_of[p] = wave
        if (
            labels[p - stride] == _RIM
            or labels[p - 1] == _RIM
            or labels[p + 1] == _RIM
            or labels[p + stride] == _RIM
        ):
            _append(p, 0, following, first, last)
    for level in range(256):
        current = 0
        p = first[level]
        while p >= 0:
            if wave_of[p] != current:
                current = wave_of[p]
                wave += 1
            label = labels[p]
            for q in (p - stride, p - 1, p + 1, p + stride):
                other = labels[q]
                if other == _RIM:
                    labels[q] = label
                    wave_of[q] = wave
                    _append(q, max(level, relief[q]), following, first, last)
                elif other > 0 and wave_of[q] == wave and strengths[label] > strengths[other]:
                    labels[q] = label
            p = following[p]


@numba.njit(**_COMPILE)
def _append(p, level, following, first, last):
    """Put a pixel at the end of its level's queue, a linked list."""
    following[p] = -1
    if first[level] < 0:
        first[level] = p
    else:
        following[last[level]] = p
    last[level] = p


@numba.njit(**_COMPILE)
def _fill_holes(labels, queue, count, stride):
    """Fill background that one instance encloses, unless it is larger than that instance."""
    areas = _areas(labels, count + 1)
    for start in range(stride, labels.size - stride):
        if labels[start] != _BACKGROUND:
            continue
        size = _flood(labels, queue, start, _VISITED, stride)
        owner = 0
        for i in range(size):
            p = queue[i]
            for q in (p - stride, p - 1, p + 1, p + stride):
                other = labels[q]
                if other != _VISITED and other != owner:
                    owner = other if owner == 0 else _FRAME
            if owner == _FRAME:
                break
        if owner > 0 and size <= areas[owner]:
            for i in range(size):
                labels[queue[i]] = owner


@numba.njit(**_COMPILE)
def _areas(labels, size):
    """Pixels per label, int64 [size]; index 0 stays 0."""
    areas = np.zeros(size, np.int64)
    for label in labels:
        if label > 0:
            areas[label] += 1
    return areas


@numba.njit(**_COMPILE)
def _drop_faint(class_probs, labels, areas, level):
    """Set to 0 the areas of labels whose mean foreground (of 255) is below the level."""
    height, width = class_probs.shape[:2]
    sums = np.zeros(areas.size, np.int64)
    for y in range(height):
        p = (y + 1) * (width + 2)
        for x in range(width):
            p += 1
            if labels[p] > 0:
                sums[labels[p]] += 255 - class_probs[y, x, 0]
    for label in range(1, areas.size):
        if sums[label] < level * areas[label]:
            areas[label] = 0


@numba.njit(**_COMPILE)
def _measure(class_probs, labels, areas, classes, min_area, count):
    """Instance map, nuclei table (contour columns 0) and first pixels of the instances.

    ``classes`` holds a label's class, or 0 where the summed probability shall decide.
    """
    height, width = class_probs.shape[:2]
    stride = width + 2
    instance_map = np.zeros((height, width), np.uint16)
    nuclei = np.zeros((count, 11), np.float32)
    starts = np.zeros(count, np.int64)
    ids = np.zeros(areas.size, np.int64)
    sums = np.zeros((count, 8), np.int64)  # class sums 1..5 in their columns; x in 6, y in 7
    box = np.zeros((count, 4), np.int64)
    found = 0
    for y in range(height):
        p = (y + 1) * stride
        for x in range(width):
            p += 1
            label = labels[p]
            if label <= 0 or areas[label] < min_area:
                continue
            if ids[label] == 0:
                starts[found] = p
                box[found] = (x, y, x, y)
                found += 1
                ids[label] = found
            instance_map[y, x] = ids[label]
            i = ids[label] - 1
            for c in range(1, 6):
                sums[i, c] += class_probs[y, x, c]
            sums[i, 6] += x
            sums[i, 7] += y
            box[i, 0] = min(box[i, 0], x)
            box[i, 2] = max(box[i, 2], x)
            box[i, 3] = y

    for label in range(1, areas.size):
        i = ids[label] - 1
        if i < 0:
            continue
        nuclei[i, 0] = sums[i, 6] / areas[label]
        nuclei[i, 1] = sums[i, 7] / areas[label]
        nuclei[i, 2] = box[i, 0]
        nuclei[i, 3] = box[i, 1]
        nuclei[i, 4] = box[i, 2] + 1
        nuclei[i, 5] = box[i, 3] + 1
        nuclei[i, 6] = areas[label]
        chosen = classes[label] if classes[label] > 0 else 1 + np.argmax(sums[i, 1:6])
        total = sums[i, 1:6].sum()
        nuclei[i, 7] = chosen
        nuclei[i, 8] = sums[i, chosen] / total if total > 0 else 0.0
    return instance_map, nuclei, starts


@numba.njit(**_COMPILE)
def _trace(labels, start, stride, points, row):
    """Follow one outer border clockwise; write (x, y) from ``points[row]`` on; return the length.

    An empty ``points`` only counts.
    """
    # Clockwise from east, with y pointing down.
    steps = (1, stride + 1, stride, stride - 1, -1, -stride - 1, -stride, -stride + 1)
    label = labels[start]
    p = start
    scan = 0  # nothing of the instance lies west or above of its first pixel
    first_direction = -1
    length = 0
    while True:
        direction = -1
        for turn in range(8):
            if labels[p + steps[(scan + turn) & 7]] == label:
                direction = (scan + turn) & 7
                break
        if p == start and direction == first_direction and length > 0:
            return length
        if points.shape[0] > 0:
            points[row + length, 0] = p % stride - 1
            points[row + length, 1] = p // stride - 1
        length += 1
        if direction < 0:  # a single pixel
            return length
        if first_direction < 0:
            first_direction = direction
        p += steps[direction]
        scan = (direction + 7 - (direction & 1)) & 7  # just past the background left behind


@numba.njit(**_COMPILE)
def _contour_lengths(labels, starts, stride):
    nothing = np.zeros((0, 2), np.int16)
    lengths = np.zeros(starts.size, np.int64)
    for i in range(starts.size):
        lengths[i] = _trace(labels, starts[i], stride, nothing, 0)
    return lengths


@numba.njit(**_COMPILE)
def _contours(labels, starts, lengths, stride):
    points = np.empty((lengths.sum(), 2), np.int16)
    row = 0
    for i in range(starts.size):
        row += _trace(labels, starts[i], stride, points, row)
    return points


def _reference(
    class_probs: np.ndarray,
    boundary_prob: np.ndarray,
    foreground_level: int,
    boundary_level: int,
    min_area: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Post-processing of TSFD-Net's authors (doi 10.1016/j.neunet.2022.02.020).

    Per class: threshold, drop small objects, close 3x3. Every connected component of the united
    classes takes its majority class. The thinned boundary is cut out; per class, erode 3x3, label,
    dilate 3x3. Where a dilated nucleus overruns another one, the remainder of the other may fall
    apart: its largest piece is kept.
    """
    square = np.ones((3, 3), np.uint8)
    class_map = np.zeros(boundary_prob.shape, np.uint8)
    for c in range(_CHANNELS - 1, 0, -1):  # where closed classes overlap the lowest id stays
        mask = _without_small((class_probs[..., c] > foreground_level).astype(np.uint8), min_area)
        class_map[cv2.morphologyEx(mask, cv2.MORPH_CLOSE, square) > 0] = c

    _, components = cv2.connectedComponents((class_map > 0).astype(np.uint8), connectivity=8)
    votes = np.bincount(
        components.ravel() * _CHANNELS + class_map.ravel(),
        minlength=(components.max() + 1) * _CHANNELS,
    ).reshape(-1, _CHANNELS)
    class_map = votes.argmax(axis=1)[components].astype(np.uint8)
    class_map[components == 0] = 0
    class_map[_thin((boundary_prob > boundary_level).astype(np.uint8)) > 0] = 0

    labels = np.full((class_map.shape[0] + 2, class_map.shape[1] + 2), _FRAME, np.int32)
    inner = labels[1:-1, 1:-1]
    inner[:] = _BACKGROUND
    classes = [np.zeros(1, np.int64)]
    count = 0
    for c in range(1, _CHANNELS):
        eroded = cv2.erode((class_map == c).astype(np.uint8), square)
        found, pieces = cv2.connectedComponents(eroded, connectivity=8)
        # float32 holds every label of an image this size exactly; dilate has no int32.
        dilated = cv2.dilate(pieces.astype(np.float32), square).astype(np.int32)
        inner[dilated > 0] = dilated[dilated > 0] + count
        count += found - 1
        classes.append(np.full(found - 1, c, np.int64))
    labels = labels.ravel()
    _keep_largest_pieces(labels, count, class_map.shape[1] + 2)
    return labels, np.concatenate(classes)


def _without_small(mask: np.ndarray, min_area: int) -> np.ndarray:
    """Binary uint8 mask without the 4-connected objects of fewer than ``min_area`` pixels."""
    _, components, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_area
    keep[0] = False
    return keep[components].astype(np.uint8)


@numba.njit(**_COMPILE)
def _keep_largest_pieces(labels, count, stride):
    """Reduce every label to its largest 4-connected piece (the first of equal ones)."""
    queue = np.empty(labels.size, np.int32)
    origins = [0]
    largest = np.zeros(count + 1, np.int64)
    piece = np.zeros(count + 1, np.int64)
    for p in range(stride, labels.size - stride):
        label = labels[p]
        if 0 < label <= count:
            size = _flood(labels, queue, p, count + len(origins), stride)
            if size > largest[label]:
                largest[label] = size
                piece[label] = count + len(origins)
            origins.append(label)
    for p in range(stride, labels.size - stride):
        if labels[p] > 0:
            label = origins[labels[p] - count]
            labels[p] = label if piece[label] == labels[p] else _BACKGROUND


@numba.njit(**_COMPILE)
def _thin(mask):
    """Skeleton of a binary uint8 mask [H, W] (Zhang and Suen 1984, doi 10.1145/357994.358023)."""
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    doomed = np.zeros_like(padded)
    changed = True
    while changed:
        changed = False
        for step in range(2):
            doomed[:] = 0
            for y in range(1, height + 1):
                for x in range(1, width + 1):
                    if padded[y, x] and _removable(padded, y, x, step):
                        doomed[y, x] = 1
                        changed = True
            padded -= doomed
    return padded[1:-1, 1:-1]


@numba.njit(**_COMPILE)
def _removable(padded, y, x, step):
    """Whether sub-iteration ``step`` of Zhang-Suen deletes the pixel."""
    north, east = padded[y - 1, x], padded[y, x + 1]
    south, west = padded[y + 1, x], padded[y, x - 1]
    ring = (
        north,
        padded[y - 1, x + 1],
        east,
        padded[y + 1, x + 1],
        south,
        padded[y + 1, x - 1],
        west,
        padded[y - 1, x - 1],
    )
    neighbours = 0
    transitions = 0
    for i in range(8):
        neighbours += ring[i]
        if ring[i] == 0 and ring[(i + 1) & 7] == 1:
            transitions += 1
    if not 2 <= neighbours <= 6 or transitions != 1:
        return False
    if step == 0:
        return north * east * south == 0 and east * south * west == 0
    return north * east * west == 0 and north * south * west == 0
