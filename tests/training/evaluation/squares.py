"""Images of a few square nuclei, and what might be found in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.data.annotated import ALLOWED, Annotated, Dataset, Entry
from tsfd_client.nuclei.result import Nuclei

SIDE = 48
COLON, SKIN = 5, 14


def squares(*corners: tuple[int, int]) -> np.ndarray:
    """Map whose instances 1..n are squares of 6 x 6 pixels at the corners (y, x)."""
    instances = np.zeros((SIDE, SIDE), np.uint16)
    for number, (y, x) in enumerate(corners, start=1):
        instances[y : y + 6, x : x + 6] = number
    return instances


def annotated(
    instances: np.ndarray, labels: Sequence[str], *, source: str = "set", tissue: int | None = None
) -> Annotated:
    return Annotated(
        image=np.zeros((SIDE, SIDE, 3), np.uint8),
        instances=instances,
        allowed=np.array([1, *(sum(1 << c for c in ALLOWED[x]) for x in labels)], np.uint8),
        tissue=tissue,
        source=source,
        group="g",
        name="a.png",
    )


def nuclei(
    instances: np.ndarray,
    classes: Sequence[int],
    *,
    tissue: int = COLON,
    class_probs: Sequence[float] | None = None,
) -> Nuclei:
    count = len(classes)
    points = [np.argwhere(instances == i).mean(axis=0)[::-1] + 0.5 for i in range(1, count + 1)]
    return Nuclei(
        instance_map=instances.astype(np.int32),
        classes=np.array(classes, np.uint8),
        class_probs=np.array(class_probs or [1.0] * count, np.float32),
        centroids=np.array(points, np.float32).reshape(count, 2),
        boxes=np.zeros((count, 4), np.float32),
        contours=[],
        areas_um2=np.zeros(count, np.float32),
        tissue_probs=np.eye(19, dtype=np.float32)[tissue],
        mpp=0.25,
        scale=1.0,
        release="test",
    )


def dataset(*images: Annotated) -> Dataset:
    return Dataset(
        Entry(i.name, i.source, i.group, i.tissue, i.instances.shape, lambda i=i: i) for i in images
    )
