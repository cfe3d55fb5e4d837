"""Score the nuclei found in one image.

score_image(truth, nuclei, groups).pq.quality.pq
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from metrics.dice_and_aji import aggregated_jaccard, dice
from metrics.panoptic_quality import (
    NUCLEUS_CLASSES,
    ImagePQ,
    channels_pq,
    image_pq,
)
from training.data.annotated import MPP, Annotated
from training.evaluation.calibration import reliability
from training.evaluation.class_groups import ClassGroups
from training.evaluation.confusion import confusion
from training.evaluation.detection import (
    DETECTION_RADIUS,
    ClassDetection,
    Detection,
    Pairs,
    class_detection,
    detection,
    pair,
)
from training.evaluation.trusted import on_trusted_pixels
from training.target import CLASSES
from tsfd_client.nuclei.result import Nuclei


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image; NaN where a score is not defined.

    Attributes
    ----------
    name, source, tissue
        As of `Annotated`.
    found_tissue
        The tissue that the network finds most likely.
    truth_counts, found_counts
        Nuclei per group of classes; index 0 counts those of no group.
    dice, aji, aji_plus
        See `metrics.dice_and_aji`.
    pq
        Panoptic quality, of all nuclei and per group.
    detection, class_detection
        Pairs of centroids, of all nuclei and per group.
    confusion
        int64 [groups + 1, 6]; see `training.evaluation.confusion`.
    reliability
        float64 [bins, 3]; see `training.evaluation.calibration`.
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
    confusion: np.ndarray
    reliability: np.ndarray


def score_image(truth: Annotated, found: Nuclei, groups: ClassGroups) -> ImageScores:
    """Compare the nuclei found in an image with its ground truth.

    Parameters
    ----------
    truth, found
        Of the same image at the same scale. Pixels to leave out do not count.
    groups
        Classes to score. An image with ``channels`` needs single classes.

    Raises
    ------
    ValueError
        If the two differ in size.
    """
    truth, found = on_trusted_pixels(truth, found)
    ids, truth_points = centroids(truth.instances)
    allowed = truth.allowed[ids]
    truth_groups = groups.of_allowed(allowed)
    allowed[truth_groups > len(groups.masks)] = 0
    found_groups = groups.of_classes(found.classes)
    pairs = pair(truth_points, found.centroids, radius=DETECTION_RADIUS * MPP / truth.mpp)
    if truth.channels is not None:
        pq = channels_pq(truth.channels, truth.instances, found.instance_map, found.classes)
        scored = groups.of_allowed(np.left_shift(1, NUCLEUS_CLASSES))
        pq = replace(pq, classes=tuple(np.array(pq.classes)[np.isin(scored, groups.numbers)]))
    else:
        pq = image_pq(
            truth.instances,
            groups.of_allowed(truth.allowed[1:]),
            found.instance_map,
            found_groups,
            classes=groups.numbers,
        )
    if truth.source in groups.sources:
        per_class = class_detection(pairs, truth_groups, found_groups, classes=groups.numbers)
        confused = confusion(pairs, truth_groups, found.classes, groups)
    else:  # the image has no classes: predicted ones are neither right nor wrong
        per_class = {number: ClassDetection(0, 0, 0, 0, 0) for number in groups.numbers}
        confused = np.zeros((len(groups.masks) + 1, len(CLASSES)), np.int64)
    jaccard = aggregated_jaccard(truth.instances, found.instance_map)
    kinds = len(groups.masks) + 1
    return ImageScores(
        name=truth.name,
        source=truth.source,
        tissue=truth.tissue,
        found_tissue=int(found.tissue_probs.argmax()),
        truth_counts=tuple(np.bincount(truth_groups, minlength=kinds).tolist()),
        found_counts=tuple(np.bincount(found_groups, minlength=kinds).tolist()),
        dice=dice(truth.instances, found.instance_map),
        aji=jaccard.aji,
        aji_plus=jaccard.aji_plus,
        pq=pq,
        detection=detection(pairs),
        class_detection=tuple(per_class.values()),
        confusion=confused,
        reliability=_reliability(pairs, allowed, found),
    )


def _reliability(pairs: Pairs, allowed: np.ndarray, found: Nuclei) -> np.ndarray:
    """Reliability of the pairs whose true class is known."""
    single = np.zeros(256, np.int64)
    single[[1 << c for c in NUCLEUS_CLASSES]] = NUCLEUS_CLASSES
    true = single[allowed[pairs.truth]]
    known = true > 0
    partners = pairs.predicted[known]
    return reliability(found.class_probs[partners], found.classes[partners] == true[known])


def centroids(instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids that occur and their centroids (x, y), float64 [n, 2]; pixel centres are at 0.5."""
    ys, xs = np.nonzero(instances)
    of_pixel = instances[ys, xs]
    areas = np.bincount(of_pixel)
    ids = np.flatnonzero(areas)
    sums = np.stack([np.bincount(of_pixel, xs), np.bincount(of_pixel, ys)], axis=-1)
    return ids, sums[ids] / areas[ids, None] + 0.5
