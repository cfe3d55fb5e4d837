"""Scores of nuclei segmentation: panoptic quality, AJI, Dice and detection.

Instance maps are integer arrays [H, W]: 0 is background, any other value an instance. Ids need
be neither contiguous nor the same in both maps. The ground truth always comes first.

    panoptic_quality(truth, predicted).pq                        one pair of instance maps
    image_pq(truth, truth_classes, predicted, predicted_classes) one image as PanNuke scores it
    pannuke_scores(images, tissues)                              mPQ and bPQ over the tissues
    aggregated_jaccard(truth, predicted).aji                     AJI and AJI+
    dice(truth, predicted)                                       of the foregrounds
    detection(truth_points, predicted_points).f1                 centroids matched within 12 px
    class_detection(...).f1                                      the same for one class
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

NUCLEUS_CLASSES = (1, 2, 3, 4, 5)
DETECTION_RADIUS = 12.0
"""Pixels at 0.25 um: the distance Hover-Net's authors allow between matched centroids."""


@dataclass(frozen=True)
class PanopticQuality:
    """Panoptic quality (Kirillov et al. 2019) at IoU > 0.5.

    Attributes
    ----------
    dq, sq, pq
        Detection quality (F1), segmentation quality (mean IoU of the matches) and their product;
        NaN where neither map holds an instance. Without a match ``sq`` is 0.
    tp, fp, fn
        Matched, superfluous and missed instances.
    """

    dq: float
    sq: float
    pq: float
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class ImagePQ:
    """Panoptic quality of one image in PanNuke's way.

    Attributes
    ----------
    binary
        PQ of all nuclei irrespective of class; NaN where the ground truth holds none.
    classes
        PQ of the classes 1..5; NaN where the class is absent from the ground truth.
    """

    binary: float
    classes: tuple[float, ...]

    @property
    def multi(self) -> float:
        """Mean over the classes that the ground truth holds; NaN without any."""
        return float(_nanmean(self.classes))


@dataclass(frozen=True)
class PanNukeScores:
    """Scores over many images.

    Attributes
    ----------
    mpq, bpq
        Means over the tissues.
    tissues
        Tissue name -> (mPQ, bPQ), each the mean over the tissue's images that are not NaN.
    classes
        PQ of the classes 1..5, each the mean over all images whose ground truth holds it.
    """

    mpq: float
    bpq: float
    tissues: Mapping[str, tuple[float, float]]
    classes: tuple[float, ...]


@dataclass(frozen=True)
class AggregatedJaccard:
    """Aggregated Jaccard index (Kumar et al. 2017) and its one-to-one variant AJI+ (Graham 2019).

    Both are NaN where neither map holds an instance.
    """

    aji: float
    aji_plus: float


@dataclass(frozen=True)
class Detection:
    """Matched (``tp``), superfluous (``fp``) and missed (``fn``) centroids.

    ``precision``, ``recall`` and ``f1`` are NaN where their denominator is 0. Counts of several
    images may be added up with ``+`` before the ratios are read.
    """

    tp: int
    fp: int
    fn: int

    def __add__(self, other: Detection) -> Detection:
        return Detection(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True)
class ClassDetection:
    """Centroids of one class after matching irrespective of class (Graham et al. 2019).

    Attributes
    ----------
    tp
        Matched pairs of which both nuclei have the class.
    confused_fp, confused_fn
        Matched pairs in which only the prediction, or only the ground truth, has the class.
    fp, fn
        Superfluous and missed nuclei of the class.
    """

    tp: int
    confused_fp: int
    confused_fn: int
    fp: int
    fn: int

    def __add__(self, other: ClassDetection) -> ClassDetection:
        return ClassDetection(
            self.tp + other.tp,
            self.confused_fp + other.confused_fp,
            self.confused_fn + other.confused_fn,
            self.fp + other.fp,
            self.fn + other.fn,
        )

    @property
    def f1(self) -> float:
        """Hover-Net's F_c, in which a confused class weighs twice a detection error."""
        errors = 2 * self.confused_fp + 2 * self.confused_fn + self.fp + self.fn
        return _ratio(2 * self.tp, 2 * self.tp + errors)


@dataclass(frozen=True)
class _Overlap:
    """Instances of two maps and those of their intersections that are not empty.

    Intersection k has ``areas[k]`` pixels and lies between the true instance ``rows[k]`` and the
    predicted instance ``columns[k]``, which are positions in ``truth_ids`` and ``predicted_ids``.
    """

    truth_ids: np.ndarray
    predicted_ids: np.ndarray
    truth_areas: np.ndarray
    predicted_areas: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    areas: np.ndarray

    @property
    def unions(self) -> np.ndarray:
        return self.truth_areas[self.rows] + self.predicted_areas[self.columns] - self.areas

    @property
    def iou(self) -> np.ndarray:
        return self.areas / self.unions


def panoptic_quality(truth: np.ndarray, predicted: np.ndarray) -> PanopticQuality:
    """Panoptic quality of an instance map.

    Parameters
    ----------
    truth, predicted
        Integer instance maps [H, W].

    Returns
    -------
    PanopticQuality

    Raises
    ------
    ValueError
        If the maps differ in shape or are not integer.

    Examples
    --------
    >>> truth = np.array([[1, 1, 1, 0, 7]])
    >>> quality = panoptic_quality(truth, np.array([[3, 3, 0, 0, 0]]))
    >>> quality.tp, quality.fn, round(quality.pq, 3)
    (1, 1, 0.444)
    """
    overlap = _overlap(truth, predicted)
    return _quality(overlap.iou, overlap.truth_ids.size, overlap.predicted_ids.size)


def image_pq(
    truth: np.ndarray,
    truth_classes: np.ndarray,
    predicted: np.ndarray,
    predicted_classes: np.ndarray,
) -> ImagePQ:
    """Panoptic quality of one image, binary and per class, as PanNuke's authors compute it.

    Parameters
    ----------
    truth, predicted
        Integer instance maps [H, W].
    truth_classes, predicted_classes
        int [n]: the class 1..5 of instance id i at index i - 1, n at least the map's largest id.

    Returns
    -------
    ImagePQ

    Raises
    ------
    ValueError
        If the maps differ in shape or are not integer, or an id has no class.
    """
    overlap = _overlap(truth, predicted)
    iou = overlap.iou
    true = _classes_of(overlap.truth_ids, truth_classes, "truth")
    found = _classes_of(overlap.predicted_ids, predicted_classes, "predicted")

    def quality_of(c: int) -> float:
        # An instance lies wholly in one class, so its overlaps are those of the whole map.
        in_class = (true[overlap.rows] == c) & (found[overlap.columns] == c)
        return _quality(iou[in_class], int((true == c).sum()), int((found == c).sum())).pq

    return ImagePQ(
        binary=_quality(iou, true.size, found.size).pq if true.size else math.nan,
        classes=tuple(quality_of(c) if (true == c).any() else math.nan for c in NUCLEUS_CLASSES),
    )


def pannuke_scores(images: Sequence[ImagePQ], tissues: Sequence[str]) -> PanNukeScores:
    """Mean the scores of images over each tissue, then over the tissues.

    Parameters
    ----------
    images
        Scores of the images of one or more folds.
    tissues
        Tissue of each image.

    Returns
    -------
    PanNukeScores

    Raises
    ------
    ValueError
        If the lengths differ or there is no image.
    """
    if not images or len(images) != len(tissues):
        raise ValueError(
            f"Scores need one tissue per image and at least one image, not {len(images)} images "
            f"and {len(tissues)} tissues."
        )
    names = np.asarray(tissues)
    multi = np.array([image.multi for image in images])
    binary = np.array([image.binary for image in images])
    per_tissue = {
        str(name): (float(_nanmean(multi[names == name])), float(_nanmean(binary[names == name])))
        for name in np.unique(names)
    }
    return PanNukeScores(
        mpq=float(_nanmean([mpq for mpq, _ in per_tissue.values()])),
        bpq=float(_nanmean([bpq for _, bpq in per_tissue.values()])),
        tissues=per_tissue,
        classes=tuple(_nanmean([image.classes for image in images]).tolist()),
    )


def aggregated_jaccard(truth: np.ndarray, predicted: np.ndarray) -> AggregatedJaccard:
    """Aggregated Jaccard index, plain and with one-to-one matches.

    AJI gives every true nucleus the predicted one of largest IoU, which may serve several; AJI+
    pairs them one to one so that the summed IoU is largest. Areas without a partner, on either
    side, enlarge the union.

    Parameters
    ----------
    truth, predicted
        Integer instance maps [H, W].

    Returns
    -------
    AggregatedJaccard

    Raises
    ------
    ValueError
        If the maps differ in shape or are not integer.
    """
    overlap = _overlap(truth, predicted)
    if overlap.truth_areas.size + overlap.predicted_areas.size == 0:
        return AggregatedJaccard(math.nan, math.nan)
    iou = overlap.iou

    by_iou = np.lexsort((-iou, overlap.rows))
    _, firsts = np.unique(overlap.rows[by_iou], return_index=True)
    best = by_iou[firsts]

    shape = (overlap.truth_ids.size, overlap.predicted_ids.size)
    table = np.zeros(shape)
    table[overlap.rows, overlap.columns] = iou
    pair = np.full(shape, -1)
    pair[overlap.rows, overlap.columns] = np.arange(iou.size)
    paired = pair[linear_sum_assignment(table, maximize=True)]
    return AggregatedJaccard(_jaccard(overlap, best), _jaccard(overlap, paired[paired >= 0]))


def dice(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Dice coefficient of the foregrounds of two maps; NaN where both are empty.

    Parameters
    ----------
    truth, predicted
        Integer or boolean maps [H, W]; everything but 0 is foreground.

    Raises
    ------
    ValueError
        If the maps differ in shape.
    """
    if truth.shape != predicted.shape:
        raise ValueError(_SHAPES_DIFFER.format(list(truth.shape), list(predicted.shape)))
    a, b = truth != 0, predicted != 0
    return _ratio(2 * int((a & b).sum()), int(a.sum()) + int(b.sum()))


def detection(
    truth_points: np.ndarray, predicted_points: np.ndarray, *, radius: float = DETECTION_RADIUS
) -> Detection:
    """Detection irrespective of class: centroids paired one to one within a radius.

    Parameters
    ----------
    truth_points, predicted_points
        float [n, 2] and [m, 2]: centroids in pixels.
    radius
        Largest distance of a match, in pixels.

    Returns
    -------
    Detection

    Raises
    ------
    ValueError
        If the points are not [n, 2].
    """
    tp = len(_matches(truth_points, predicted_points, radius)[0])
    return Detection(tp, len(predicted_points) - tp, len(truth_points) - tp)


def class_detection(
    truth_points: np.ndarray,
    truth_classes: np.ndarray,
    predicted_points: np.ndarray,
    predicted_classes: np.ndarray,
    *,
    radius: float = DETECTION_RADIUS,
) -> dict[int, ClassDetection]:
    """Detection per class: paired as in `detection`, then the classes of each pair compared.

    Parameters
    ----------
    truth_points, predicted_points
        float [n, 2] and [m, 2]: centroids in pixels.
    truth_classes, predicted_classes
        int [n] and [m]: classes 1..5.
    radius
        Largest distance of a match, in pixels.

    Returns
    -------
    dict
        Class 1..5 -> `ClassDetection`.

    Raises
    ------
    ValueError
        If the points are not [n, 2] or there is not one class per point.
    """
    if len(truth_points) != len(truth_classes) or len(predicted_points) != len(predicted_classes):
        raise ValueError("Every centroid needs exactly one class.")
    rows, columns = _matches(truth_points, predicted_points, radius)
    true, found = truth_classes[rows], predicted_classes[columns]
    missed = np.delete(truth_classes, rows)
    superfluous = np.delete(predicted_classes, columns)
    return {
        c: ClassDetection(
            tp=int(((true == c) & (found == c)).sum()),
            confused_fp=int(((true != c) & (found == c)).sum()),
            confused_fn=int(((true == c) & (found != c)).sum()),
            fp=int((superfluous == c).sum()),
            fn=int((missed == c).sum()),
        )
        for c in NUCLEUS_CLASSES
    }


_SHAPES_DIFFER = "Ground truth and prediction must have the same shape, not {} and {}."


def _overlap(truth: np.ndarray, predicted: np.ndarray) -> _Overlap:
    if truth.shape != predicted.shape:
        raise ValueError(_SHAPES_DIFFER.format(list(truth.shape), list(predicted.shape)))
    for array in (truth, predicted):
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"An instance map must hold whole numbers, not {array.dtype}.")
    truth_ids, truth_areas = np.unique(truth[truth != 0], return_counts=True)
    predicted_ids, predicted_areas = np.unique(predicted[predicted != 0], return_counts=True)
    both = (truth != 0) & (predicted != 0)
    rows = np.searchsorted(truth_ids, truth[both])
    columns = np.searchsorted(predicted_ids, predicted[both])
    # max(): without predictions there are no pairs either, and divmod still wants a divisor.
    width = max(predicted_ids.size, 1)
    pairs, areas = np.unique(rows * width + columns, return_counts=True)
    return _Overlap(
        truth_ids, predicted_ids, truth_areas, predicted_areas, *divmod(pairs, width), areas
    )


def _quality(iou: np.ndarray, truths: int, predictions: int) -> PanopticQuality:
    """Panoptic quality from the IoU of all overlapping pairs and the numbers of instances."""
    matched = iou > 0.5  # an instance has at most one partner above one half
    tp = int(matched.sum())
    fp, fn = predictions - tp, truths - tp
    dq = _ratio(2 * tp, 2 * tp + fp + fn)
    sq = math.nan if math.isnan(dq) else _ratio(float(iou[matched].sum()), max(tp, 1))
    return PanopticQuality(dq, sq, dq * sq, tp, fp, fn)


def _classes_of(ids: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    if ids.size and (ids[0] < 0 or ids[-1] > len(classes)):
        raise ValueError(
            f"The {name} map has instance ids from {ids[0]} to {ids[-1]}, but classes are given "
            f"for 1..{len(classes)}."
        )
    return np.asarray(classes)[ids - 1] if ids.size else np.zeros(0, np.int64)


def _jaccard(overlap: _Overlap, pairs: np.ndarray) -> float:
    """Summed intersections of the pairs over their summed unions and all unpaired areas."""
    rows, columns = overlap.rows[pairs], overlap.columns[pairs]
    union = (
        overlap.unions[pairs].sum()
        + np.delete(overlap.truth_areas, rows).sum()
        + np.delete(overlap.predicted_areas, columns).sum()
    )
    return float(overlap.areas[pairs].sum() / union)


def _matches(
    truth_points: np.ndarray, predicted_points: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of smallest summed distance, without those further apart than the radius.

    Hover-Net's pairing: the assignment is made first and the radius applied to it.
    """
    for points in (truth_points, predicted_points):
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"Centroids must have the shape [n, 2], not {list(points.shape)}.")
    distances = cdist(truth_points, predicted_points)
    rows, columns = linear_sum_assignment(distances)
    near = distances[rows, columns] <= radius
    return rows[near], columns[near]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _nanmean(values: np.typing.ArrayLike) -> np.ndarray:
    """Mean over the first axis without NaN; NaN, and no warning, where nothing is left."""
    array = np.asarray(values, np.float64)
    present = ~np.isnan(array)
    number = present.sum(axis=0)
    total = np.where(present, array, 0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
