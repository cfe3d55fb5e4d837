"""Scores of outlines: panoptic quality, AJI and Dice.

Instance maps are integer arrays [H, W]: 0 is background, any other value an instance. Ids need
be neither contiguous nor the same in both maps. The ground truth always comes first.

    panoptic_quality(truth, predicted).pq                        one pair of instance maps
    image_pq(truth, truth_classes, predicted, predicted_classes) one image as PanNuke scores it
    channels_pq(channels, truth, predicted, predicted_classes)   the same where classes overlap
    aggregated_jaccard(truth, predicted).aji                     AJI and AJI+
    dice(truth, predicted)                                       of the foregrounds
    matched(truth, predicted)                                    ids of the pairs that PQ counts
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

NUCLEUS_CLASSES = (1, 2, 3, 4, 5)


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
    quality
        Of all nuclei irrespective of class.
    classes
        PQ of each class; NaN where the class is absent from the ground truth.
    """

    quality: PanopticQuality
    classes: tuple[float, ...]

    @property
    def binary(self) -> float:
        """PQ of all nuclei; NaN where the ground truth holds none."""
        return self.quality.pq if self.quality.tp + self.quality.fn else math.nan

    @property
    def multi(self) -> float:
        """Mean over the classes that the ground truth holds; NaN without any."""
        return float(_nanmean(self.classes))


@dataclass(frozen=True)
class AggregatedJaccard:
    """Aggregated Jaccard index (Kumar et al. 2017) and its one-to-one variant AJI+ (Graham 2019).

    Both are NaN where neither map holds an instance.
    """

    aji: float
    aji_plus: float


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
    *,
    classes: Sequence[int] = NUCLEUS_CLASSES,
) -> ImagePQ:
    """Panoptic quality of one image, binary and per class, as PanNuke's authors compute it.

    Parameters
    ----------
    truth, predicted
        Integer instance maps [H, W].
    truth_classes, predicted_classes
        int [n]: the class of instance id i at index i - 1, n at least the map's largest id. A true
        nucleus of class 0 has a class that nobody knows: neither it nor its match enters the
        scores of the classes.
    classes
        Classes to score.

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
    known = np.ones(found.size, bool)
    known[overlap.columns[(true[overlap.rows] == 0) & (iou > _MATCH)]] = False

    def quality_of(c: int) -> float:
        # An instance lies wholly in one class, so its overlaps are those of the whole map.
        in_class = (true[overlap.rows] == c) & (found[overlap.columns] == c)
        predictions = int(((found == c) & known).sum())
        return _quality(iou[in_class], int((true == c).sum()), predictions).pq

    return ImagePQ(
        quality=_quality(iou, true.size, found.size),
        classes=tuple(quality_of(c) if (true == c).any() else math.nan for c in classes),
    )


def channels_pq(
    channels: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    predicted_classes: np.ndarray,
) -> ImagePQ:
    """Panoptic quality of one image whose true nuclei of different classes may overlap.

    PanNuke's authors score every class in its own channel, in which a nucleus is whole, and the
    binary PQ in the union, in which later classes cover earlier ones.

    Parameters
    ----------
    channels
        Integer [H, W, 5]: the true instance map of each class 1..5.
    truth
        Integer instance map [H, W]: the union of the channels.
    predicted, predicted_classes
        As in `image_pq`.

    Returns
    -------
    ImagePQ

    Raises
    ------
    ValueError
        As in `image_pq`.
    """
    quality = panoptic_quality(truth, predicted)
    ids = np.unique(predicted[predicted != 0])
    found = _classes_of(ids, predicted_classes, "predicted")
    scores = []
    for c, channel in zip(NUCLEUS_CLASSES, np.moveaxis(channels, -1, 0), strict=True):
        of_class = np.where(np.isin(predicted, ids[found == c]), predicted, 0)
        scores.append(panoptic_quality(channel, of_class).pq if channel.any() else math.nan)
    return ImagePQ(quality, tuple(scores))


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


def matched(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the true and of the predicted instance of every pair with IoU > 0.5.

    Parameters
    ----------
    truth, predicted
        Integer instance maps [H, W].

    Raises
    ------
    ValueError
        If the maps differ in shape or are not integer.
    """
    overlap = _overlap(truth, predicted)
    pairs = overlap.iou > _MATCH
    return overlap.truth_ids[overlap.rows[pairs]], overlap.predicted_ids[overlap.columns[pairs]]


_MATCH = 0.5
"""IoU above which instances are the same; no instance has two partners above one half."""

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
    pairs = iou > _MATCH
    tp = int(pairs.sum())
    fp, fn = predictions - tp, truths - tp
    dq = _ratio(2 * tp, 2 * tp + fp + fn)
    sq = math.nan if math.isnan(dq) else _ratio(float(iou[pairs].sum()), max(tp, 1))
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


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _nanmean(values: np.typing.ArrayLike) -> np.ndarray:
    """Mean over the first axis without NaN; NaN, and no warning, where nothing is left."""
    array = np.asarray(values, np.float64)
    present = ~np.isnan(array)
    number = present.sum(axis=0)
    total = np.where(present, array, 0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
