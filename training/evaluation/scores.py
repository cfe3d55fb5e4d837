"""Aggregate the scores of images into those of a data set, with 95 % intervals.

scores = aggregate([score_image(truth, nuclei, groups) for ...], groups, by_tissue=False)
scores.overall["pq"]    Estimate(value=0.61, low=0.58, high=0.64)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metrics.estimates import (
    Estimate,
    Part,
    estimate,
    mean,
    nanmean,
    resamples,
    summarise,
)
from training.evaluation.calibration import calibration_error
from training.evaluation.class_groups import ClassGroups
from training.evaluation.image_scores import ImageScores
from tsfd_client.contract import TISSUES


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
    """Scores of one tissue; ``images`` is the number of its images."""

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
        ``detection_precision``, ``detection_recall``, ``detection_f1``, ``calibration_error``,
        ``tissue_accuracy``.
    classes
        One per group of classes.
    tissues
        One per tissue that occurs.
    confusion
        int64 [groups + 1, 6]; see `training.evaluation.confusion`.
    reliability
        float64 [bins, 3]; see `training.evaluation.calibration`.
    images
        One per image, in the order of the data.
    by_tissue
        Whether ``mpq`` and ``bpq`` are means over tissues (PanNuke) or over images.
    """

    overall: Mapping[str, Estimate]
    classes: tuple[ClassScores, ...]
    tissues: tuple[TissueScores, ...]
    confusion: np.ndarray
    reliability: np.ndarray
    images: tuple[ImageScores, ...]
    by_tissue: bool

    @property
    def nuclei(self) -> int:
        """Number of annotated nuclei."""
        return sum(sum(image.truth_counts) for image in self.images)


def aggregate(images: Sequence[ImageScores], groups: ClassGroups, *, by_tissue: bool) -> Scores:
    """Aggregate the scores of a data set's images.

    Parameters
    ----------
    images
        Scores of at least one image.
    groups
        The classes they were scored with.
    by_tissue
        Average mPQ and bPQ over the images of each tissue and then over the tissues, as PanNuke's
        authors do, instead of over all images. Every image must then have a tissue.

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
    weights = resamples(len(images))
    mpq = mean([image.pq.multi for image in images])
    bpq = mean([image.pq.binary for image in images])
    over = _over_tissues if by_tissue else _over_images
    return Scores(
        overall={
            "mpq": over(mpq, weights, tissues),
            "bpq": over(bpq, weights, tissues),
            **_overall(images, weights),
            "calibration_error": _calibration(images, weights),
            "tissue_accuracy": estimate(
                Part(
                    np.array([image.tissue == image.found_tissue for image in images], float),
                    (tissues >= 0).astype(float),
                ),
                weights,
            ),
        },
        classes=_classes(images, groups, weights),
        tissues=tuple(
            TissueScores(
                name=TISSUES[tissue],
                images=int((tissues == tissue).sum()),
                mpq=_in_tissue(mpq, weights, tissues == tissue),
                bpq=_in_tissue(bpq, weights, tissues == tissue),
            )
            for tissue in np.unique(tissues[tissues >= 0])
        ),
        confusion=sum(image.confusion for image in images),
        reliability=sum(image.reliability for image in images),
        images=tuple(images),
        by_tissue=by_tissue,
    )


def _overall(images: Sequence[ImageScores], weights: np.ndarray) -> dict[str, Estimate]:
    """Scores that do not depend on classes and tissues."""
    parts = {
        "pq": mean([image.pq.quality.pq for image in images]),
        "dq": mean([image.pq.quality.dq for image in images]),
        "sq": mean([image.pq.quality.sq for image in images]),
        "dice": mean([image.dice for image in images]),
        "aji": mean([image.aji for image in images]),
        "aji_plus": mean([image.aji_plus for image in images]),
    }
    counts = [(d.tp, d.fp, d.fn) for d in (image.detection for image in images)]
    parts |= {f"detection_{name}": part for name, part in _detections(counts).items()}
    return {name: estimate(part, weights) for name, part in parts.items()}


def _classes(
    images: Sequence[ImageScores], groups: ClassGroups, weights: np.ndarray
) -> tuple[ClassScores, ...]:
    found = []
    for number, name in zip(groups.numbers, groups.names, strict=True):
        detections = [image.class_detection[number - 1] for image in images]
        parts = _detections([(d.tp, d.superfluous, d.missed) for d in detections])
        found.append(
            ClassScores(
                name=name,
                truth=sum(image.truth_counts[number] for image in images),
                found=sum(i.found_counts[number] for i in images if i.source in groups.sources),
                pq=estimate(mean([image.pq.classes[number - 1] for image in images]), weights),
                **{key: estimate(part, weights) for key, part in parts.items()},
            )
        )
    return tuple(found)


def _detections(counts: Sequence[tuple[int, int, int]]) -> dict[str, Part]:
    """Detection scores from the matched, superfluous and missed nuclei of each image."""
    tp, superfluous, missed = np.array(counts, float).T
    return {
        "precision": Part(tp, tp + superfluous),
        "recall": Part(tp, tp + missed),
        "f1": Part(2 * tp, 2 * tp + superfluous + missed),
    }


def _calibration(images: Sequence[ImageScores], weights: np.ndarray) -> Estimate:
    tables = np.stack([image.reliability for image in images])
    with_nuclei = int(tables[..., 0].any(axis=1).sum())
    return summarise(calibration_error(np.tensordot(weights, tables, axes=1)), with_nuclei)


def _over_images(part: Part, weights: np.ndarray, tissues: np.ndarray) -> Estimate:
    return estimate(part, weights)


def _over_tissues(part: Part, weights: np.ndarray, tissues: np.ndarray) -> Estimate:
    """Average over the images of each tissue, then over the tissues."""
    rows = [
        part.only(tissues == tissue).resampled(weights[:, tissues == tissue])
        for tissue in np.unique(tissues)
    ]
    return summarise(nanmean(rows), part.images)


def _in_tissue(part: Part, weights: np.ndarray, own: np.ndarray) -> Estimate:
    return estimate(part.only(own), weights[:, own])
