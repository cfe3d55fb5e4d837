"""Segment every image of a data set and score the result.

source = sources.from_weights(path, Settings())
evaluation = evaluate(data, source.segment, by_tissue=True)
evaluation.scores.overall["mpq"]
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from metrics.panoptic_quality import NUCLEUS_CLASSES
from training.data.annotated import Annotated, Dataset
from training.data.pannuke import SOURCE as PANNUKE
from training.evaluation.class_groups import ClassGroups, find_groups, single_classes
from training.evaluation.image_scores import score_image
from training.evaluation.scores import Scores, aggregate
from tsfd_client.nuclei.result import Nuclei

Segment = Callable[[Iterable[np.ndarray]], Iterator[Nuclei]]
"""Function from images, uint8 [H, W, 3] at one scale, to their nuclei in the same order."""


@dataclass(frozen=True)
class Prediction:
    """The nuclei found in an image, small enough to keep for every image.

    Attributes
    ----------
    png
        The instance map as a PNG file.
    classes
        uint8 [n], class 1..5 of instance id i at index i - 1; 0 for a class of another name.
    """

    png: np.ndarray
    classes: np.ndarray

    @property
    def instances(self) -> np.ndarray:
        """uint16 [H, W], 0 is background."""
        return cv2.imdecode(self.png, cv2.IMREAD_UNCHANGED)


@dataclass(frozen=True)
class Evaluation:
    """Scores, the groups of classes they are for, the nuclei found, and the duration in seconds."""

    scores: Scores
    groups: ClassGroups
    predictions: tuple[Prediction, ...]
    seconds: float


def evaluate(
    data: Dataset,
    segment: Segment,
    *,
    by_tissue: bool,
    classes: Sequence[int] = NUCLEUS_CLASSES,
) -> Evaluation:
    """Segment every image of a data set and score the result.

    Parameters
    ----------
    data
        At least one image, at the scale that `segment` takes.
    segment
        As of a `training.evaluation.sources.Source`.
    by_tissue
        Average mPQ and bPQ over tissues, as PanNuke's authors do, instead of over images.
    classes
        Annotated classes that the network predicts; only these are scored.

    Raises
    ------
    ValueError
        If there is no image, or one without a tissue where `by_tissue` needs it.
    tsfd_client.errors.TsfdError
        If a server cannot be reached or refuses.
    """
    started = time.monotonic()
    pannuke = {entry.source for entry in data.entries} == {PANNUKE}
    groups = single_classes(PANNUKE) if pannuke else find_groups(data)
    groups = groups.of_network(classes)
    waiting: deque[Annotated] = deque()

    def images() -> Iterator[np.ndarray]:
        for annotated in data:
            waiting.append(annotated)
            yield annotated.image

    scores, predictions = [], []
    for found in tqdm(segment(images()), total=len(data), unit="image", disable=None):
        scores.append(score_image(waiting.popleft(), found, groups))
        labels = found.instance_map.astype(np.uint16)
        predictions.append(Prediction(cv2.imencode(".png", labels)[1], found.classes))
    return Evaluation(
        scores=aggregate(scores, groups, by_tissue=by_tissue),
        groups=groups,
        predictions=tuple(predictions),
        seconds=time.monotonic() - started,
    )
