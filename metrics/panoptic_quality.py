"""Panoptic quality of an instance map, or of an image as defined by PanNuke.

    panoptic_quality(truth, predicted).pq                        one pair of instance maps
    image_pq(truth, truth_classes, predicted, predicted_classes) one image: bPQ and PQ per class
    channels_pq(channels, truth, predicted, predicted_classes)   the same if classes overlap

Maps are as in `metrics.overlap`; the ground truth comes first. Means over images are
computed in `training.evaluation.scores`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metrics.estimates import nanmean, ratio
from metrics.overlap import MATCH, overlap

NUCLEUS_CLASSES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class PanopticQuality:
    """Panoptic quality (Kirillov et al. 2019) at IoU > 0.5.

    Attributes
    ----------
    dq, sq, pq
        Detection quality (F1), segmentation quality (mean IoU of the matches) and their product;
        NaN if neither map has an instance. Without a match ``sq`` is 0.
    tp, fp, fn
        Numbers of matched, superfluous and missed instances.
    """

    dq: float
    sq: float
    pq: float
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class ImagePQ:
    """Panoptic quality of one image as defined by PanNuke.

    Attributes
    ----------
    quality
        Panoptic quality of all nuclei, regardless of class.
    classes
        PQ of each class; NaN if the class is absent from the ground truth.
    """

    quality: PanopticQuality
    classes: tuple[float, ...]

    @property
    def binary(self) -> float:
        """PQ of all nuclei; NaN if the ground truth has none."""
        return self.quality.pq if self.quality.tp + self.quality.fn else math.nan

    @property
    def multi(self) -> float:
        """Mean PQ over the classes in the ground truth; NaN if there are none."""
        return float(nanmean(self.classes))


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
    found = overlap(truth, predicted)
    return _quality(found.iou, found.truth_ids.size, found.predicted_ids.size)


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
        int [n]: the class of instance id i at index i - 1; n is at least the map's largest id. A
        true nucleus of class 0 has an unknown class: neither it nor its match enters the scores of
        the classes.
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
    pairs = overlap(truth, predicted)
    iou = pairs.iou
    true = _classes_of(pairs.truth_ids, truth_classes, "truth")
    found = _classes_of(pairs.predicted_ids, predicted_classes, "predicted")
    known = np.ones(found.size, bool)
    known[pairs.columns[(true[pairs.rows] == 0) & (iou > MATCH)]] = False

    def quality_of(c: int) -> float:
        # Each instance has one class, so overlaps within a class are those of the whole map.
        in_class = (true[pairs.rows] == c) & (found[pairs.columns] == c)
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

    PanNuke's authors score every class in its own channel, where nuclei are complete, and the
    binary PQ in the union, where later classes cover earlier ones.

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


def _quality(iou: np.ndarray, truths: int, predictions: int) -> PanopticQuality:
    """Compute panoptic quality from the IoU of all overlapping pairs and numbers of instances."""
    pairs = iou > MATCH
    tp = int(pairs.sum())
    fp, fn = predictions - tp, truths - tp
    dq = ratio(2 * tp, 2 * tp + fp + fn)
    sq = math.nan if math.isnan(dq) else ratio(float(iou[pairs].sum()), max(tp, 1))
    return PanopticQuality(dq, sq, dq * sq, tp, fp, fn)


def _classes_of(ids: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    if ids.size and (ids[0] < 0 or ids[-1] > len(classes)):
        raise ValueError(
            f"The {name} map has instance ids from {ids[0]} to {ids[-1]}, but classes are given "
            f"for 1..{len(classes)}."
        )
    return np.asarray(classes)[ids - 1] if ids.size else np.zeros(0, np.int64)
