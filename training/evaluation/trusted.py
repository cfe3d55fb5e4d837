"""Scores where not every pixel is known: what is found there is neither right nor wrong.

    truth, found = on_trusted_pixels(truth, found)

Instances that lie mainly on pixels to leave out are dropped, and the others cut at them, on both
sides alike.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from training.data.annotated import Annotated
from tsfd_client.nuclei.result import Nuclei


def on_trusted_pixels(truth: Annotated, found: Nuclei) -> tuple[Annotated, Nuclei]:
    """What of an image and of the nuclei found in it enters its scores.

    Of `found` only what scores look at is kept: the map, classes, centroids and tissue. Its ids are
    numbered anew; those of `truth` stay.
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
    """The map without the instances and parts of instances that do not count.

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
    """Which of the instances 1..count do not lie mainly on pixels to leave out, bool [count]."""
    areas = np.bincount(instances.ravel(), minlength=count + 1)
    outside = np.bincount(instances[ignore], minlength=count + 1)
    return (2 * outside <= areas)[1:]
