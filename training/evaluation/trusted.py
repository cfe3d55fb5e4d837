"""Leave pixels that nobody annotated out of the scores.

    truth, found = on_trusted_pixels(truth, found)

Instances that lie mainly on such pixels are dropped, and the others lose the parts that do, in both
the ground truth and the prediction.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.data.annotated import Annotated
from tsfd_client.nuclei.result import Nuclei


def on_trusted_pixels(truth: Annotated, found: Nuclei) -> tuple[Annotated, Nuclei]:
    """Reduce an image's ground truth and the nuclei found to what enters the scores.

    Of `found`, only what the scores need is kept: map, classes, centroids and tissue. Its ids are
    renumbered; those of `truth` stay.
    """
    if truth.ignore is None:
        return truth, found
    kept = trusted_ids(found.instance_map, truth.ignore, len(found))
    numbers = np.zeros(len(found) + 1, np.int32)
    numbers[1:][kept] = np.arange(1, kept.sum() + 1)
    judged = replace(
        found,
        instance_map=numbers[trusted_instances(found.instance_map, truth.ignore)],
        **{
            name: getattr(found, name)[kept]
            for name in ("classes", "class_probs", "centroids", "boxes", "areas_um2")
        },
        contours=[],
    )
    return replace(truth, instances=trusted_instances(truth.instances, truth.ignore)), judged


def trusted_instances(instances: np.ndarray, ignore: np.ndarray | None) -> np.ndarray:
    """Remove the instances, and parts of instances, that do not count from a map.

    Parameters
    ----------
    instances
        Integer [H, W], 0 is background.
    ignore
        bool [H, W], pixels to leave out, or None.
    """
    if ignore is None:
        return instances
    kept = trusted_ids(instances, ignore, int(instances.max(initial=0)))
    counts = np.concatenate([[False], kept])[instances] & ~ignore
    return np.where(counts, instances, 0)


def trusted_ids(instances: np.ndarray, ignore: np.ndarray, count: int) -> np.ndarray:
    """Which of the instances 1..count count, bool [count]: at least half lies on trusted pixels."""
    areas = np.bincount(instances.ravel(), minlength=count + 1)
    outside = np.bincount(instances[ignore], minlength=count + 1)
    return (2 * outside <= areas)[1:]
