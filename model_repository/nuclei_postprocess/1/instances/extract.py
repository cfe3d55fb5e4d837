"""Extract the nuclei of one image from its probabilities."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from instances.contours import trace_contours
from instances.holes import fill_holes
from instances.measures import COLUMNS, choose, measure, tally
from instances.parameters import Parameters
from instances.scratch import Scratch
from instances.watershed import watershed

_MAX_SIDE: Final = np.iinfo(np.int16).max
_MAX_INSTANCES: Final = np.iinfo(np.uint16).max
_DEFAULTS: Final = Parameters()
_scratch = Scratch()
_MAX_CONTOUR_POINTS: Final = 1 << 24  # contour_start is float32, which is exact up to here


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
        largest summed probability over the instance among the K classes (lowest id on a tie) and
        ``class_prob`` is its share of the sum over them, so 0..1.
    contours
        int16 [m, 2]: pixels (x, y) of each instance's outer border, clockwise, 8-connected,
        starting at the instance's first pixel in raster order. Empty if not requested;
        ``contour_start`` and ``contour_length`` are then 0.
    """

    instance_map: np.ndarray
    nuclei: np.ndarray
    contours: np.ndarray


def extract(
    class_probs: np.ndarray,
    boundary_prob: np.ndarray,
    parameters: Parameters = _DEFAULTS,
    *,
    with_contours: bool = True,
) -> Instances:
    """Find the nuclei of one image.

    Parameters
    ----------
    class_probs
        uint8 [H, W, 1 + K]: probabilities times 255 of background and the classes 1..K.
    boundary_prob
        uint8 [H, W]: probability times 255 that the outline of a nucleus runs through the pixel.
    parameters
        Thresholds and minimum area.
    with_contours
        Whether to trace contours.

    Returns
    -------
    Instances

    Raises
    ------
    ValueError
        If an array has another dtype or shape, is empty or has a side over 32,767 pixels, or if
        the image has more than 65,535 nuclei.
    """
    class_probs, boundary_prob = _checked(class_probs, boundary_prob)
    height, width = boundary_prob.shape
    foreground_level = int(255 * parameters.foreground_threshold)
    boundary_level = int(255 * parameters.boundary_threshold)
    scratch = _scratch.arrays(height, width)
    levels = foreground_level, boundary_level
    found, span_count = watershed(class_probs, boundary_prob, *levels, *scratch)
    labels, *_, spans, gaps = scratch
    spans = spans[:span_count]
    tallies = tally(class_probs, labels, spans, found)
    holes = fill_holes(class_probs, labels, tallies, spans, gaps)
    # At most just above the image's size, because the kernels' integers are limited to 64 bits.
    min_area = min(int(parameters.min_area), boundary_prob.size + 1)
    chosen = choose(tallies, 255 * float(parameters.min_confidence), min_area)
    count = int(np.count_nonzero(chosen))
    if count > _MAX_INSTANCES:
        raise ValueError(
            f"The image has {count:,} nuclei, more than the {_MAX_INSTANCES:,} an instance map can "
            "number: process it in tiles."
        )
    instance_map, nuclei, starts = measure(tallies, chosen, labels, spans, holes, height, width)
    if not with_contours:
        return Instances(instance_map, nuclei, np.zeros((0, 2), np.int16))

    points, lengths = trace_contours(labels, starts, width + 2)
    if len(points) > _MAX_CONTOUR_POINTS:
        raise ValueError(
            f"The contours have {len(points):,} points, more than the {_MAX_CONTOUR_POINTS:,} the "
            "nuclei table can index: process the image in tiles."
        )
    nuclei[:, COLUMNS.index("contour_start")] = np.cumsum(lengths) - lengths
    nuclei[:, COLUMNS.index("contour_length")] = lengths
    return Instances(instance_map, nuclei, points)


def warm_up() -> None:
    """Compile, or load from disk, all kernels that `extract` uses."""
    class_probs = np.zeros((16, 16, 2), np.uint8)
    class_probs[..., 0] = 255
    class_probs[4:12, 4:12] = (0, 255)
    boundary_prob = np.zeros((16, 16), np.uint8)
    extract(class_probs, boundary_prob)


def _checked(class_probs: np.ndarray, boundary_prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check the arrays; return contiguous read-only views, for which the kernels are compiled."""
    arrays = []
    for name, array, shape in (
        ("class_probs", class_probs, "[height, width, 1 + classes]"),
        ("boundary_prob", boundary_prob, "[height, width]"),
    ):
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
            found = getattr(array, "dtype", type(array).__name__)
            raise ValueError(f"{name} must be a uint8 array (probability times 255), not {found}.")
        rank = shape.count(",") + 1
        if array.ndim != rank or (rank == 3 and array.shape[2] < 2):
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
            f"The image has {height} x {width} pixels, but a side may have at most {_MAX_SIDE:,}: "
            "process it in tiles."
        )
    return arrays[0], arrays[1]
