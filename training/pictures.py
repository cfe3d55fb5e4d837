"""Pictures of a training run: its curves, and what the network finds in validation images."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib.figure
import numpy as np
from skimage.segmentation import mark_boundaries

from training.data.annotated import Annotated

_EXAMPLES = 4
_CROP = 384
_TRUTH = (0.0, 0.9, 0.9)
_FOUND = (1.0, 0.9, 0.0)


def draw_curves(log: Path, path: Path) -> None:
    """Draw every column of a run's ``log.csv`` over the epochs, as a PNG."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    # Without validation images Keras logs columns of "NA".
    names = [name for name, value in rows[0].items() if name != "epoch" and value != "NA"]
    figure = matplotlib.figure.Figure(figsize=(4 * len(names), 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axes.plot([int(row["epoch"]) + 1 for row in rows], [float(row[name]) for row in rows])
        axes.set_title(name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def draw_examples(
    images: list[Annotated], found: list[np.ndarray], scores: list[float], path: Path
) -> None:
    """Draw the centres of some images with the outlines of the truth (cyan) and of the prediction.

    Parameters
    ----------
    images, found, scores
        Images, the instance maps found in them and their panoptic quality; the examples are
        spread over all of them.
    path
        PNG to write.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, _EXAMPLES).astype(int))
    figure = matplotlib.figure.Figure(figsize=(8, 4 * len(chosen)), layout="constrained")
    for row, number in zip(figure.subplots(len(chosen), 2, squeeze=False), chosen, strict=True):
        image = images[number]
        maps = ((image.instances, _TRUTH, "truth"), (found[number], _FOUND, "found"))
        for axes, (instances, colour, title) in zip(row, maps, strict=True):
            marked = mark_boundaries(_centre(image.image), _centre(instances), color=colour)
            axes.imshow(marked)
            axes.set_axis_off()
            axes.set_title(
                f"{image.name}: {title}" + f", PQ {scores[number]:.2f}" * (title == "found")
            )
    figure.savefig(path, dpi=80)


def _centre(array: np.ndarray) -> np.ndarray:
    top, left = (max(0, (side - _CROP) // 2) for side in array.shape[:2])
    return array[top : top + _CROP, left : left + _CROP]
