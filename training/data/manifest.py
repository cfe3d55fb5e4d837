"""Images and masks listed in a ``manifest.json``.

The manifest is a list of objects, one per image, with ``image`` and ``masks`` (files, relative to
the manifest), ``set``, ``split``, ``tissue`` (one of `TISSUES`, or null), ``group`` (patient or
slide) and ``mpp``. A masks file is an npz with ``instances`` [H, W] (0 is background, ids 1..n)
and ``label`` [n], the name of each instance's label: one of `ALLOWED`. It may hold ``split`` bool
[n], true where the border with a touching nucleus is a guess.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.data.annotated import ALLOWED, MPP, Annotated, DataError, Dataset, Entry, id_problem
from training.target import CLASSES
from tsfd_client.contract import TISSUES

MANIFEST = "manifest.json"

_TEXT_KEYS = ("image", "masks", "set", "split", "group")
_KEYS = (*_TEXT_KEYS, "tissue", "mpp")
_MOST_INSTANCES = 65534  # one value of uint16 stays free, for `batches.boundaries`


def read_manifest(folder: Path, split: str) -> Dataset:
    """Read every image of a split into memory, resampled to 0.25 mpp.

    Raises
    ------
    DataError
        If the manifest or a file of the split is broken, with the first of its problems;
        ``python -m training.check`` names them all.
    """
    entries = read_entries(folder)
    problem = next(listing_problems(folder, entries), None)
    if problem:
        raise DataError(problem)
    chosen = [entry for entry in entries if entry["split"] == split]
    if not chosen:
        splits = ", ".join(sorted({entry["split"] for entry in entries}))
        raise DataError(
            f"{folder / MANIFEST} lists no image of the split {split!r}; it has {splits}."
        )
    images = []
    for entry in chosen:
        examined = examine(folder, entry)
        if examined.annotated is None:
            raise DataError(examined.problems[0])
        images.append(_in_memory(examined.annotated))
    return Dataset(images)


def _in_memory(annotated: Annotated) -> Entry:
    return Entry(
        name=annotated.name,
        source=annotated.source,
        group=annotated.group,
        tissue=annotated.tissue,
        shape=annotated.instances.shape,
        load=lambda: annotated,
        checksum=zlib.crc32(
            annotated.image,
            zlib.crc32(annotated.instances, zlib.crc32(annotated.allowed)),
        ),
        classes=frozenset(c for c in range(1, len(CLASSES)) if 1 << c in annotated.allowed),
    )


def read_entries(folder: Path) -> list:
    """What the manifest lists, as it is written there.

    Raises
    ------
    DataError
        If there is no manifest, or it is no list.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"There is no {path}: name the folder of a manifest.json.")
    try:
        entries = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path} must be a list with an object for every image.")
    return entries


def listing_problems(folder: Path, entries: list) -> Iterator[str]:
    """What is wrong with the manifest itself, one sentence each."""
    path = folder / MANIFEST
    for number, entry in enumerate(entries, start=1):
        for problem in entry_problems(entry):
            yield f"{path}, entry {number}: {problem}."
    sound = [entry for entry in entries if not any(entry_problems(entry))]
    for image, count in Counter(entry["image"] for entry in sound).items():
        if count > 1:
            yield f"{path} lists {image} {count} times."
    splits: dict[tuple[str, str], set[str]] = {}
    for entry in sound:
        splits.setdefault((entry["set"], entry["group"]), set()).add(entry["split"])
    for (source, group), names in splits.items():
        if len(names) > 1:
            yield (
                f"{path}: the group {group!r} of the set {source!r} is in the splits "
                f"{' and '.join(sorted(names))}; a patient or slide belongs in one."
            )


def entry_problems(entry: object) -> Iterator[str]:
    """What is wrong with one entry of the manifest."""
    if not isinstance(entry, dict):
        yield f"must be an object, not {entry!r}"
        return
    for key in _KEYS:
        if key not in entry:
            yield f"{key!r} is missing"
    for key in _TEXT_KEYS:
        if not isinstance(entry.get(key, ""), str):
            yield f"{key!r} must be text, not {entry[key]!r}"
    if entry.get("tissue") not in (None, *TISSUES):
        yield f"the tissue {entry['tissue']!r} is unknown; known are {', '.join(TISSUES)}"
    mpp = entry.get("mpp", MPP)
    if isinstance(mpp, bool) or not isinstance(mpp, int | float) or not 0 < mpp < np.inf:
        yield f"'mpp' must be a positive number, not {mpp!r}"


@dataclass(frozen=True)
class Examined:
    """An entry's files as read.

    Attributes
    ----------
    problems
        What is wrong with the files, one sentence each.
    annotated
        The image, if nothing is.
    labels
        Label of each instance, as written in the masks file.
    """

    problems: tuple[str, ...]
    annotated: Annotated | None = None
    labels: tuple[str, ...] = ()


def examine(folder: Path, entry: dict) -> Examined:
    """Read the image and the masks of a sound entry, and say what is wrong with them."""
    problems = []
    image, masks = folder / entry["image"], folder / entry["masks"]
    bgr = cv2.imread(str(image), cv2.IMREAD_COLOR) if image.is_file() else None
    if bgr is None:
        problems.append(f"{image} is {'not an image' if image.is_file() else 'missing'}.")
    try:
        instances, labels, guessed = _load_masks(masks)
    except DataError as error:
        return Examined((*problems, str(error)))
    problems += [f"{masks}: {problem}." for problem in _mask_problems(instances, labels, guessed)]
    if bgr is not None and instances.ndim == 2 and instances.shape != bgr.shape[:2]:
        problems.append(
            f"{masks} has {_size(instances)} pixels but its image {entry['image']} {_size(bgr)}."
        )
    if problems:
        return Examined(tuple(problems))
    annotated = _annotated(entry, bgr, instances, labels.tolist(), guessed)
    return Examined((), annotated, tuple(labels.tolist()))


def _load_masks(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not path.is_file():
        raise DataError(f"{path} is missing.")
    try:
        with np.load(path, allow_pickle=False) as masks:
            labels = masks["label"]
            guessed = masks["split"] if "split" in masks else np.zeros(labels.shape, bool)
            return masks["instances"], labels, guessed
    except KeyError as error:
        raise DataError(f"{path} is an npz without 'instances' or without 'label'.") from error
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not an npz of plain numbers and text.") from error


def _mask_problems(instances: np.ndarray, labels: np.ndarray, guessed: np.ndarray) -> Iterator[str]:
    if labels.ndim != 1 or (labels.size and labels.dtype.kind != "U"):
        yield f"'label' must be text [n], not {labels.dtype} {list(labels.shape)}"
    else:
        for label in sorted(set(labels.tolist()) - set(ALLOWED)):
            yield f"the label {label!r} is unknown; known are {', '.join(ALLOWED)}"
    if guessed.shape != labels.shape or guessed.dtype != bool:
        yield f"'split' must be bool [n], not {guessed.dtype} {list(guessed.shape)}"
    if instances.ndim != 2 or instances.dtype.kind not in "uif":
        yield f"'instances' must be numbers [H, W], not {instances.dtype} {list(instances.shape)}"
        return
    problem = id_problem(instances)
    if problem:
        yield f"'instances' {problem}"
        return
    highest = int(instances.max(initial=0))
    if highest > labels.size:
        yield f"'instances' has the id {highest}, but 'label' has length {labels.size}"
    elif highest > _MOST_INSTANCES:
        yield f"'instances' has the id {highest}; the highest possible is {_MOST_INSTANCES}"


def _size(array: np.ndarray) -> str:
    return f"{array.shape[0]} x {array.shape[1]}"


def _annotated(
    entry: dict, bgr: np.ndarray, instances: np.ndarray, labels: list[str], guessed: np.ndarray
) -> Annotated:
    instances = instances.astype(np.uint16)
    scale = entry["mpp"] / MPP
    if scale != 1:
        smooth = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=smooth)
        height, width = bgr.shape[:2]
        instances = cv2.resize(instances, (width, height), interpolation=cv2.INTER_NEAREST)
    sets = [1] + [sum(1 << c for c in ALLOWED[label]) for label in labels]
    return Annotated(
        image=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB),
        instances=instances,
        allowed=np.array(sets, np.uint8),
        tissue=TISSUES.index(entry["tissue"]) if entry["tissue"] else None,
        source=entry["set"],
        group=entry["group"],
        name=entry["image"],
        guessed=np.concatenate([[False], guessed]),
    )
