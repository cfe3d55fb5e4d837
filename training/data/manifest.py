"""Images and masks listed in a ``manifest.json``.

The manifest is a list of objects, one per image, with ``image`` and ``masks`` (files, relative to
the manifest), ``set``, ``split``, ``tissue`` (one of `TISSUES`, or null), ``group`` (patient or
slide) and ``mpp``. A masks file is an npz with ``instances`` [H, W] (0 is background, ids 1..n)
and ``label`` [n], the name of each instance's label: one of `ALLOWED`. It may hold ``split`` bool
[n], true where the border with a touching nucleus is a guess, and ``ignore`` bool [H, W], true at
pixels to leave out. An optional ``partial: true`` says that some nuclei of an image are not marked:
then only the marked nuclei and a ring around each are used.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.data.annotated import ALLOWED, MPP, Annotated, DataError, Dataset, Entry, id_problem
from training.data.rescale import nearest
from training.target import CLASSES
from tsfd_client.contract import TISSUES
from tsfd_client.pixels.resample import MPP_RANGE, Grid, resample

MANIFEST = "manifest.json"

_TEXT_KEYS = ("image", "masks", "set", "split", "group")
_KEYS = (*_TEXT_KEYS, "tissue", "mpp")
_MOST_INSTANCES = 65534  # one value of uint16 stays free, for `batches.boundaries`
# Width of the ring around a marked nucleus that counts as known background in a partial image.
# Without it nothing would teach where a nucleus ends. Outlines extend one pixel outside; farther
# away there may be a neighbour that nobody marked.
_RING = 2
_SCAN, _END = b"\xff\xda", b"\xff\xd9"  # markers of JPEG


def read_manifest(folder: Path, split: str, mpp: float = MPP) -> Dataset:
    """Read every image of a split into memory, resampled to `mpp`.

    Raises
    ------
    DataError
        If the manifest or a file of the split is broken; the message names the first problem, and
        ``python -m training.check`` names them all.
    """
    entries = sound_entries(folder)
    chosen = [entry for entry in entries if entry["split"] == split]
    if not chosen:
        splits = ", ".join(sorted({entry["split"] for entry in entries}))
        raise DataError(
            f"{folder / MANIFEST} lists no image of the split {split!r}; it has {splits}."
        )
    images = []
    for entry in chosen:
        examined = examine(folder, entry, mpp)
        if examined.annotated is None:
            raise DataError(examined.problems[0])
        images.append(in_memory(examined.annotated, entry["mpp"]))
    return Dataset(images)


def in_memory(annotated: Annotated, mpp: float) -> Entry:
    """The entry of an image that has been read, from a scan of `mpp`."""
    return Entry(
        name=annotated.name,
        source=annotated.source,
        group=annotated.group,
        tissue=annotated.tissue,
        shape=annotated.instances.shape,
        load=lambda: annotated,
        checksum=_checksum(annotated),
        classes=frozenset(c for c in range(1, len(CLASSES)) if 1 << c in annotated.allowed),
        mpp=mpp,
    )


def _checksum(annotated: Annotated) -> int:
    checksum = zlib.crc32(annotated.allowed)
    for pixels in (annotated.instances, annotated.image, annotated.ignore, annotated.guessed):
        if pixels is not None:
            checksum = zlib.crc32(pixels, checksum)
    return checksum


def read_entries(folder: Path) -> list:
    """Read the entries of the manifest without checking them.

    Raises
    ------
    DataError
        If there is no manifest that can be read, or it is not a list.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"There is no {path}: name the folder of a manifest.json.")
    try:
        entries = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path} must be a list with an object for every image.")
    return entries


def sound_entries(folder: Path) -> list[dict]:
    """Read the entries of the manifest.

    Raises
    ------
    DataError
        If there is no manifest, or anything in it is wrong; the message names the first problem.
    """
    entries = read_entries(folder)
    problem = next(listing_problems(folder, entries), None)
    if problem:
        raise DataError(problem)
    return entries


def listing_problems(folder: Path, entries: list) -> Iterator[str]:
    """What is wrong with the manifest itself, one sentence each."""
    path = folder / MANIFEST
    for number, entry in enumerate(entries, start=1):
        for problem in entry_problems(entry):
            yield f"{path}, entry {number}: {problem}."
    sound = [entry for entry in entries if not any(entry_problems(entry))]
    for image, count in Counter(os.path.normpath(entry["image"]) for entry in sound).items():
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
    if not isinstance(entry.get("partial", False), bool):
        yield f"'partial' must be true or false, not {entry['partial']!r}"
    mpp = entry.get("mpp", MPP)
    low, high = MPP_RANGE
    if isinstance(mpp, bool) or not isinstance(mpp, int | float) or not low <= mpp <= high:
        yield f"'mpp' must be a number from {low} to {high} (micrometres per pixel), not {mpp!r}"


@dataclass(frozen=True)
class Examined:
    """The files of an entry, read and checked.

    Attributes
    ----------
    problems
        What is wrong with the files, one sentence each.
    annotated
        The image, if nothing is wrong.
    labels
        Label of each instance that has pixels, as written in the masks file.
    ignored
        Whether the masks file names pixels to leave out.
    """

    problems: tuple[str, ...]
    annotated: Annotated | None = None
    labels: tuple[str, ...] = ()
    ignored: bool = False


def examine(folder: Path, entry: dict, mpp: float = MPP) -> Examined:
    """Read and check the image and the masks of a valid entry; resample them to `mpp`."""
    problems = []
    image, masks = folder / entry["image"], folder / entry["masks"]
    try:
        bgr = _read_image(image)
    except DataError as error:
        bgr = None
        problems.append(str(error))
    try:
        marked = _load_masks(masks)
    except DataError as error:
        return Examined((*problems, str(error)))
    problems += [f"{masks}: {problem}." for problem in _mask_problems(marked)]
    shape = marked.instances.shape
    if bgr is not None and len(shape) == 2 and shape != bgr.shape[:2]:
        problems.append(
            f"{masks} has {_size(shape)} pixels but its image {entry['image']} {_size(bgr.shape)}."
        )
    if problems:
        return Examined(tuple(problems))
    return Examined(
        problems=(),
        annotated=_annotated(entry, bgr, marked, mpp),
        labels=tuple(marked.labels[_present(marked.instances)[1:] - 1].tolist()),
        ignored=marked.ignore is not None and bool(marked.ignore.any()),
    )


def _read_image(path: Path) -> np.ndarray:
    """A picture as OpenCV reads it, uint8 [H, W, 3], BGR."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    # Depending on its version, OpenCV fills what is missing.
    if content[:2] == b"\xff\xd8" and content.rfind(_END) <= content.rfind(_SCAN):
        raise DataError(f"{path} is cut off.")
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if bgr is None:
        raise DataError(f"{path} is not an image.")
    return bgr


@dataclass(frozen=True)
class _Masks:
    """The arrays of a masks file; `ignore` is None if the file has none."""

    instances: np.ndarray
    labels: np.ndarray
    guessed: np.ndarray
    ignore: np.ndarray | None


def _load_masks(path: Path) -> _Masks:
    try:
        with np.load(path, allow_pickle=False) as masks:
            labels = masks["label"]
            return _Masks(
                instances=masks["instances"],
                labels=labels,
                guessed=masks["split"] if "split" in masks else np.zeros(labels.shape, bool),
                ignore=masks.get("ignore"),
            )
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing.") from error
    except KeyError as error:
        raise DataError(f"{path} is an npz without 'instances' or without 'label'.") from error
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not an npz of plain numbers and text.") from error


def _mask_problems(masks: _Masks) -> Iterator[str]:
    instances, labels, guessed, ignore = vars(masks).values()
    if labels.ndim != 1 or (labels.size and labels.dtype.kind != "U"):
        yield f"'label' must be text [n], not {labels.dtype} {list(labels.shape)}"
    else:
        for label in sorted(set(labels.tolist()) - set(ALLOWED)):
            yield f"the label {label!r} is unknown; known are {', '.join(ALLOWED)}"
    if guessed.shape != labels.shape or guessed.dtype != bool:
        yield f"'split' must be bool [n], not {guessed.dtype} {list(guessed.shape)}"
    if ignore is not None and (ignore.ndim != 2 or ignore.dtype != bool):
        yield f"'ignore' must be bool [H, W], not {ignore.dtype} {list(ignore.shape)}"
    elif ignore is not None and instances.ndim == 2 and ignore.shape != instances.shape:
        yield f"'ignore' has {_size(ignore.shape)} pixels but 'instances' {_size(instances.shape)}"
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


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _annotated(entry: dict, bgr: np.ndarray, masks: _Masks, mpp: float) -> Annotated:
    grid = Grid(*masks.instances.shape, entry["mpp"], mpp)
    instances = nearest(masks.instances.astype(np.uint16, order="C"), grid)
    # Ids without pixels would count as nuclei wherever classes are counted.
    present = _present(instances)
    renumbered = np.zeros(1 + masks.labels.size, np.uint16)
    renumbered[present] = np.arange(len(present))
    instances = renumbered[instances]
    ignore = None if masks.ignore is None else nearest(np.ascontiguousarray(masks.ignore), grid)
    if entry.get("partial"):
        unmarked = _far_from(instances)
        ignore = unmarked if ignore is None else ignore | unmarked
    sets = [1] + [sum(1 << c for c in ALLOWED[label]) for label in masks.labels.tolist()]
    return Annotated(
        # Resampled as by the client, so that training and serving see the same pixels.
        image=resample(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), entry["mpp"], mpp),
        instances=instances,
        allowed=np.array(sets, np.uint8)[present],
        tissue=TISSUES.index(entry["tissue"]) if entry["tissue"] else None,
        source=entry["set"],
        group=entry["group"],
        name=entry["image"],
        guessed=np.concatenate([[False], masks.guessed])[present],
        ignore=ignore if ignore is not None and ignore.any() else None,
        mpp=mpp,
    )


def _present(instances: np.ndarray) -> np.ndarray:
    """Ids that have pixels, and 0; int [n + 1]."""
    return np.union1d(0, instances).astype(np.int64)


def _far_from(instances: np.ndarray) -> np.ndarray:
    """Pixels that belong neither to a nucleus nor to the ring around one."""
    size = 2 * _RING + 1
    ring = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.dilate((instances > 0).astype(np.uint8), ring) == 0
