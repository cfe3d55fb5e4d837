"""Augmented batches of annotated images."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import keras
import numpy as np
from tqdm import tqdm

from training.data.annotated import MPP, Dataset
from training.data.augment import AUGMENTATIONS
from training.losses import ANYTHING, NO_BOUNDARY
from training.target import CLASSES
from tsfd_client.contract import TILE, TISSUES

_NO_INSTANCE = 65535
_WORKERS = 2
_AHEAD = 8  # batches prepared while the network learns from one


def boundaries(instances: np.ndarray, guessed: np.ndarray | None = None) -> np.ndarray:
    """The outlines that the boundary head learns.

    Pixels on either side of an instance's edge (scikit-image's ``find_boundaries``, connectivity 1,
    "thick"). Instances cut off by the patch are closed by a frame of 2 pixels.

    Parameters
    ----------
    instances
        uint16 [H, W].
    guessed
        bool by instance id: nuclei whose borders with each other were not drawn by an annotator.

    Returns
    -------
    uint8 [H, W]
        1 on an outline, 2 where it separates two nuclei at most 2 pixels away and is not guessed,
        else 0.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    outlines = cv2.dilate(instances, cross) != cv2.erode(instances, cross)
    frame = np.ones(instances.shape, bool)
    frame[2:-2, 2:-2] = False
    outlines |= frame & (instances > 0)
    near = np.ones((5, 5), np.uint8)
    highest = cv2.dilate(instances, near)
    lowest = cv2.erode(np.where(instances > 0, instances, np.uint16(_NO_INSTANCE)), near)
    between = outlines & (lowest < highest)
    if guessed is not None:
        between[between] = ~(guessed[lowest[between]] & guessed[highest[between]])
    return outlines.astype(np.uint8) + between


def class_weights(data: Dataset) -> np.ndarray:
    """How often to draw each image relative to an ordinary one, by the rarest class in it.

    Repeat factor sampling (Gupta et al. 2019, LVIS): the square root of the number of images with
    the most widespread class over the number with this one. Only nuclei of known class count.

    Returns
    -------
    float64 [len(data)], at least 1
    """
    holds = np.zeros((len(data), len(CLASSES)), bool)
    for row, annotated in enumerate(
        tqdm(data, desc="Counting classes", unit=" images", disable=None)
    ):
        for class_id in range(1, len(CLASSES)):
            holds[row, class_id] = np.any(annotated.allowed == 1 << class_id)
    images = holds.sum(axis=0)
    factor = np.sqrt(images.max() / np.maximum(images, 1))
    return np.where(holds, factor, 1).max(axis=1)


def area_weights(data: Dataset) -> np.ndarray:
    """How often to draw each image, by its area, so that small images do not crowd out large ones.

    A set as a whole is drawn in proportion to the square root of its area, so that large sets do
    not crowd out small ones either. Areas are in pixels as scanned: enlarging adds no content.

    Returns
    -------
    float64 [len(data)]
    """
    areas = [math.prod(entry.shape) * (MPP / entry.mpp) ** 2 for entry in data.entries]
    of_set: Counter[str] = Counter()
    for entry, area in zip(data.entries, areas, strict=True):
        of_set[entry.source] += area
    return np.array(areas) / [of_set[entry.source] ** 0.5 for entry in data.entries]


class Batches(keras.utils.PyDataset):
    """Endless batches of random augmented patches.

    A batch is ``image`` uint8 [N, 256, 256, 3] and the targets by output of the network:
    ``class_logits`` uint8 [N, 256, 256, 1] (allowed sets; `ANYTHING` at pixels to leave out),
    ``boundary_logits`` uint8 [N, 256, 256, 1] (`boundaries`; `NO_BOUNDARY` at these pixels),
    ``tissue_logits`` float32 [N, 19] (all zero where unknown).

    Parameters
    ----------
    data
        Images to cut patches from, of one data set or of several.
    batch_size, steps, seed
        A batch depends only on the seed, the epoch and its position among the epoch's `steps`.
    augmentation
        Name in `AUGMENTATIONS`.
    balance_classes
        Draw images with rare classes more often; see `class_weights`. Reads every image once.

    Attributes
    ----------
    steps
        Of an epoch.
    epoch
        Epoch whose batches these are.
    skipped
        How many batches to skip, in an epoch that is resumed.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        batch_size: int,
        steps: int,
        seed: int,
        augmentation: str,
        balance_classes: bool = False,
    ) -> None:
        super().__init__()
        self._data = data
        self._batch_size = batch_size
        self.steps = steps
        self._seed = seed
        self._cut = AUGMENTATIONS[augmentation]
        self.epoch = 0
        self.skipped = 0
        # Not Keras' workers: batches they prepared for one iteration may turn up in the next.
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="batches")
        self._ahead: dict[int, Future] = {}
        weight = area_weights(data)
        if balance_classes:
            weight *= class_weights(data)
        self._probability = weight / weight.sum()

    def __len__(self) -> int:
        return self.steps - self.skipped

    def __getitem__(self, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        step = self.step(index)
        wanted = range(step, min(step + _AHEAD, (self.epoch + 1) * self.steps))
        self._ahead = {n: self._ahead.get(n) or self._pool.submit(self.batch, n) for n in wanted}
        return self._ahead[step].result()

    def step(self, index: int) -> int:
        """Number of the epoch's step, counted from the first epoch on."""
        return self.epoch * self.steps + self.skipped + index

    def batch(self, step: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The batch of a step, where steps count from the start of the first epoch."""
        rng = np.random.default_rng((self._seed, *divmod(step, self.steps)))
        chosen = rng.choice(len(self._data), self._batch_size, p=self._probability)
        image = np.empty((self._batch_size, TILE, TILE, 3), np.uint8)
        allowed = np.empty((self._batch_size, TILE, TILE, 1), np.uint8)
        outlines = np.empty((self._batch_size, TILE, TILE, 1), np.uint8)
        tissue = np.zeros((self._batch_size, len(TISSUES)), np.float32)
        for row, number in enumerate(chosen):
            annotated = self._data[number]
            image[row], instances, ignore = self._cut(annotated, rng)
            allowed[row, ..., 0] = np.where(ignore, ANYTHING, annotated.allowed[instances])
            outline = boundaries(instances, annotated.guessed)
            outlines[row, ..., 0] = np.where(ignore, NO_BOUNDARY, outline)
            if annotated.tissue is not None:
                tissue[row, annotated.tissue] = 1
        return image, {
            "class_logits": allowed,
            "boundary_logits": outlines,
            "tissue_logits": tissue,
        }
