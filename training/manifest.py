"""Images and masks listed in a ``manifest.json``.

The manifest is a list of objects, one per image, with ``image`` and ``masks`` (files, relative to
the manifest), ``set``, ``split``, ``tissue`` (one of `TISSUES`, or null), ``group`` (patient or
slide) and ``mpp``. A masks file is an npz with ``instances`` [H, W] (0 is background, ids 1..n)
and ``label`` [n], the name of each instance's label: one of `ALLOWED`.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from training.annotated import ALLOWED, MPP, Annotated, DataError, Dataset, Entry
from training.labels import TISSUES


def read_manifest(folder: Path, split: str) -> Dataset:
    """Read every image of a split into memory, resampled to 0.25 mpp.

    Raises
    ------
    DataError
        If the manifest or a file is missing, or an image and its masks disagree.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise DataError(f"There is no {path}: name the folder of a manifest.json.")
    entries = [entry for entry in json.loads(path.read_text()) if entry["split"] == split]
    if not entries:
        raise DataError(f"{path} lists no image of the split {split!r}.")
    return Dataset(_in_memory(_read(folder, entry)) for entry in entries)


def _in_memory(annotated: Annotated) -> Entry:
    return Entry(
        name=annotated.name,
        source=annotated.source,
        group=annotated.group,
        tissue=annotated.tissue,
        shape=annotated.instances.shape,
        load=lambda: annotated,
    )


def _read(folder: Path, entry: dict) -> Annotated:
    bgr = cv2.imread(str(folder / entry["image"]), cv2.IMREAD_COLOR)
    if bgr is None:
        raise DataError(f"{folder / entry['image']} is missing or not an image.")
    try:
        with np.load(folder / entry["masks"], allow_pickle=False) as masks:
            instances, labels = masks["instances"], masks["label"]
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{folder / entry['masks']} is missing or has no 'instances' and 'label'."
        ) from error
    if instances.shape != bgr.shape[:2]:
        raise DataError(f"{entry['masks']} is {instances.shape} but its image is {bgr.shape[:2]}.")
    unknown = sorted(set(labels.tolist()) - set(ALLOWED))
    if unknown:
        raise DataError(
            f"{entry['masks']} has the label {unknown[0]!r}; known are {', '.join(ALLOWED)}."
        )
    if instances.max(initial=0) > len(labels):
        raise DataError(
            f"{entry['masks']} has instance {instances.max()} but only {len(labels)} labels."
        )
    scale = entry["mpp"] / MPP
    if scale != 1:
        bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        height, width = bgr.shape[:2]
        instances = cv2.resize(instances, (width, height), interpolation=cv2.INTER_NEAREST)
    sets = [1] + [sum(1 << c for c in ALLOWED[label]) for label in labels.tolist()]
    return Annotated(
        image=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB),
        instances=instances.astype(np.uint16),
        allowed=np.array(sets, np.uint8),
        tissue=TISSUES.index(entry["tissue"]) if entry["tissue"] else None,
        source=entry["set"],
        group=entry["group"],
        name=entry["image"],
    )
