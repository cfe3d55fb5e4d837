"""One image -> its scores; the scores of many images -> means with 95 % intervals.

    scores = aggregate([score_image(truth, nuclei, groups) for ...], groups, by_tissue=False)
    scores.overall["pq"]    Estimate(value=0.61, low=0.58, high=0.64)

Every score is a sum over the images divided by another: a mean of values by their number, a
detection's F1 by its counts. The bootstrap weighs the images anew and divides again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.data.annotated import Annotated
from training.evaluation.class_groups import ClassGroups
from training.evaluation.detection import ClassDetection, Detection, class_detection, detection
from training.evaluation.panoptic_quality import (
    ImagePQ,
    aggregated_jaccard,
    channels_pq,
    dice,
    image_pq,
)
from tsfd_client.contract import TISSUES
from tsfd_client.nuclei import Nuclei

RESAMPLES = 2000
"""Resamplings of the images that an interval is made of."""

_SEED = 0
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image; NaN where a score is not defined.

    Attributes
    ----------
    name, source, tissue
        As of `Annotated`.
    found_tissue
        The most likely tissue by the network.
    truth_counts, found_counts
        Nuclei per group of classes; index 0 counts those of no group.
    dice, aji, aji_plus
        See `training.evaluation.panoptic_quality`.
    pq
        Panoptic quality, of all nuclei and per group.
    detection, class_detection
        Pairs of centroids, of all nuclei and per group.
    """

    name: str
    source: str
    tissue: int | None
    found_tissue: int
    truth_counts: tuple[int, ...]
    found_counts: tuple[int, ...]
    dice: float
    aji: float
    aji_plus: float
    pq: ImagePQ
    detection: Detection
    class_detection: tuple[ClassDetection, ...]


@dataclass(frozen=True)
class Estimate:
    """A score and its 95 % interval (percentile bootstrap over images); NaN where undefined.

    The interval is NaN too where fewer than two images have a part in the score.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassScores:
    """Scores of one group of classes; ``truth`` and ``found`` are numbers of nuclei."""

    name: str
    truth: int
    found: int
    pq: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True)
class TissueScores:
    """Scores of the images of one tissue, of which there are ``images``."""

    name: str
    images: int
    mpq: Estimate
    bpq: Estimate


@dataclass(frozen=True)
class Scores:
    """Scores of a data set.

    Attributes
    ----------
    overall
        ``mpq``, ``bpq``, ``pq``, ``dq``, ``sq``, ``dice``, ``aji``, ``aji_plus``,
        ``detection_precision``, ``detection_recall``, ``detection_f1``, ``tissue_accuracy``.
    classes
        One per group of classes.
    tissues
        One per tissue that occurs.
    images
        One per image, in the order of the data.
    by_tissue
        Whether ``mpq`` and ``bpq`` are means over tissues (PanNuke) or over images.
    """

    overall: Mapping[str, Estimate]
    classes: tuple[ClassScores, ...]
    tissues: tuple[TissueScores, ...]
    images: tuple[ImageScores, ...]
    by_tissue: bool


def score_image(truth: Annotated, found: Nuclei, groups: ClassGroups) -> ImageScores:
    """Compare the nuclei found in an image with its ground truth.

    Parameters
    ----------
    truth, found
        Of the same image at 0.25 mpp.
    groups
        Classes to score. An image with ``channels`` needs the five single classes.

    Raises
    ------
    ValueError
        If the two differ in size.
    """
    ids, truth_points = _centroids(truth.instances)
    truth_groups = groups.of_allowed(truth.allowed[1:])
    found_groups = groups.of_classes(found.classes)
    if truth.channels is not None:
        pq = channels_pq(truth.channels, truth.instances, found.instance_map, found.classes)
    else:
        pq = image_pq(
            truth.instances,
            truth_groups,
            found.instance_map,
            found_groups,
            classes=groups.numbers,
        )
    if truth.source in groups.sources:
        per_class = class_detection(
            truth_points,
            truth_groups[ids - 1],
            found.centroids,
            found_groups,
            classes=groups.numbers,
        )
    else:  # what is found here is of no class, neither rightly nor wrongly
        per_class = {number: ClassDetection(0, 0, 0, 0, 0) for number in groups.numbers}
    jaccard = aggregated_jaccard(truth.instances, found.instance_map)
    kinds = len(groups.masks) + 1
    return ImageScores(
        name=truth.name,
        source=truth.source,
        tissue=truth.tissue,
        found_tissue=int(found.tissue_probs.argmax()),
        truth_counts=tuple(np.bincount(truth_groups[ids - 1], minlength=kinds).tolist()),
        found_counts=tuple(np.bincount(found_groups, minlength=kinds).tolist()),
        dice=dice(truth.instances, found.instance_map),
        aji=jaccard.aji,
        aji_plus=jaccard.aji_plus,
        pq=pq,
        detection=detection(truth_points, found.centroids),
        class_detection=tuple(per_class.values()),
    )


def aggregate(images: Sequence[ImageScores], groups: ClassGroups, *, by_tissue: bool) -> Scores:
    """Scores of a data set from those of its images.

    Parameters
    ----------
    images
        Scores of the images, of which there is at least one.
    groups
        The classes they were scored with.
    by_tissue
        Mean mPQ and bPQ over the images of each tissue and then over the tissues, as PanNuke's
        authors do, instead of over all images. Every image must have a tissue then.

    Raises
    ------
    ValueError
        If there is no image, or one without a tissue where `by_tissue` needs it.
    """
    if not images:
        raise ValueError("There are no images to take the mean of.")
    tissues = np.array([-1 if image.tissue is None else image.tissue for image in images])
    if by_tissue and (tissues < 0).any():
        raise ValueError("Scores by tissue need a tissue for every image.")
    weights = _weights(len(images))
    mpq = _mean([image.pq.multi for image in images])
    bpq = _mean([image.pq.binary for image in images])

    def in_tissue(part: _Part, tissue: int) -> np.ndarray:
        own = tissues == tissue
        return part.only(own).resampled(weights[:, own])

    def over_tissues(part: _Part) -> Estimate:
        present = np.unique(tissues)
        return _estimate(
            _nanmean(np.stack([in_tissue(part, tissue) for tissue in present])), part.images
        )

    def score(part: _Part) -> Estimate:
        return _estimate(part.resampled(weights), part.images)

    overall = over_tissues if by_tissue else score
    return Scores(
        overall={
            "mpq": overall(mpq),
            "bpq": overall(bpq),
            "pq": score(_mean([image.pq.quality.pq for image in images])),
            "dq": score(_mean([image.pq.quality.dq for image in images])),
            "sq": score(_mean([image.pq.quality.sq for image in images])),
            "dice": score(_mean([image.dice for image in images])),
            "aji": score(_mean([image.aji for image in images])),
            "aji_plus": score(_mean([image.aji_plus for image in images])),
            **{
                f"detection_{name}": score(part)
                for name, part in _detections(
                    [(d.tp, d.fp, d.fn) for d in (image.detection for image in images)]
                ).items()
            },
            "tissue_accuracy": score(
                _Part(
                    np.array([image.tissue == image.found_tissue for image in images], float),
                    (tissues >= 0).astype(float),
                )
            ),
        },
        classes=tuple(
            ClassScores(
                name=name,
                truth=sum(image.truth_counts[number] for image in images),
                found=sum(i.found_counts[number] for i in images if i.source in groups.sources),
                pq=score(_mean([image.pq.classes[number - 1] for image in images])),
                **{
                    key: score(part)
                    for key, part in _detections(
                        [
                            (d.tp, d.superfluous, d.missed)
                            for d in (image.class_detection[number - 1] for image in images)
                        ]
                    ).items()
                },
            )
            for number, name in zip(groups.numbers, groups.names, strict=True)
        ),
        tissues=tuple(
            TissueScores(
                name=TISSUES[tissue],
                images=int((tissues == tissue).sum()),
                mpq=_estimate(in_tissue(mpq, tissue), mpq.only(tissues == tissue).images),
                bpq=_estimate(in_tissue(bpq, tissue), bpq.only(tissues == tissue).images),
            )
            for tissue in np.unique(tissues[tissues >= 0])
        ),
        images=tuple(images),
        by_tissue=by_tissue,
    )


@dataclass(frozen=True)
class _Part:
    """What each image adds to the two sums of a score, float [n] each."""

    above: np.ndarray
    below: np.ndarray

    @property
    def images(self) -> int:
        """Images that have a part in the score."""
        return int((self.below > 0).sum())

    def only(self, chosen: np.ndarray) -> _Part:
        return _Part(self.above[chosen], self.below[chosen])

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The score under each row of weights [r, n]; NaN where it is not defined."""
        below = weights @ self.below
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(below > 0, weights @ self.above / below, np.nan)


def _weights(images: int) -> np.ndarray:
    """How often each image counts, float [1 + resamples, n]: first as they are, then resampled."""
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    return np.concatenate([np.ones((1, images)), drawn])


def _mean(values: Sequence[float]) -> _Part:
    array = np.asarray(values, float)
    present = ~np.isnan(array)
    return _Part(np.where(present, array, 0.0), present.astype(float))


def _detections(counts: Sequence[tuple[int, int, int]]) -> dict[str, _Part]:
    """From the matched, superfluous and missed nuclei of each image."""
    tp, superfluous, missed = np.array(counts, float).T
    return {
        "precision": _Part(tp, tp + superfluous),
        "recall": _Part(tp, tp + missed),
        "f1": _Part(2 * tp, 2 * tp + superfluous + missed),
    }


def _estimate(samples: np.ndarray, images: int) -> Estimate:
    """First the score itself, then what the resamplings gave."""
    value = float(samples[0])
    drawn = samples[1:][~np.isnan(samples[1:])]
    if images < 2 or math.isnan(value) or not drawn.size:
        return Estimate(value, math.nan, math.nan)
    low, high = np.percentile(drawn, _INTERVAL)
    return Estimate(value, float(low), float(high))


def _nanmean(rows: np.ndarray) -> np.ndarray:
    """Mean over the first axis without NaN; NaN where nothing is left."""
    present = ~np.isnan(rows)
    number = present.sum(axis=0)
    total = np.where(present, rows, 0).sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _centroids(instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids that occur, and their centroids as (x, y), float64 [n, 2]; a pixel's centre is 0.5."""
    ys, xs = np.nonzero(instances)
    of_pixel = instances[ys, xs]
    areas = np.bincount(of_pixel)
    ids = np.flatnonzero(areas)
    sums = np.stack([np.bincount(of_pixel, xs), np.bincount(of_pixel, ys)], axis=-1)
    return ids, sums[ids] / areas[ids, None] + 0.5
