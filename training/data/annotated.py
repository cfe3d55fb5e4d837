"""Data sets of annotated images, described before any pixel is read.

    data = read_manifest(folder, "train") + PanNukeFold(fold)
    data.entries[0].tissue    # at once
    data[0].image             # read now

A `Dataset` is a sequence of `Annotated` images backed by `Entry` objects, which say where an image
comes from, how large it is and how to load it. Splitting and sampling look at the entries only.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.target import CLASSES, PANNUKE

MPP = PANNUKE.mpp
"""Scale of images unless a network is for another one, micrometres per pixel."""

_ANY_NUCLEUS = tuple(range(1, len(CLASSES)))
ALLOWED: dict[str, tuple[int, ...]] = {
    **{name: (index,) for index, name in enumerate(CLASSES) if index},
    "epithelial_any": (1, 5),
    "not_neoplastic": (2, 3, 4, 5),
    "unlabelled": _ANY_NUCLEUS,
    "unknown": _ANY_NUCLEUS,
}
"""Classes a nucleus may have, by the label its annotator gave."""


class DataError(Exception):
    """The data cannot be used; the message says what is wrong and where."""


@dataclass(frozen=True)
class Annotated:
    """One image, in memory.

    Attributes
    ----------
    image
        uint8 [H, W, 3], RGB.
    instances
        uint16 [H, W], 0 is background, ids 1..n.
    allowed
        uint8 [n + 1], set of classes by instance id: sum of ``2 ** class``; id 0 is background.
    tissue
        Index into `TISSUES`, or None.
    source
        Name of the data set.
    group
        Patient or slide.
    name
        File name of the image relative to the folder of the data, or ``"fold1/123"``.
    guessed
        bool [n + 1] by instance id, whether the nucleus was separated from touching ones by a
        watershed and not by the annotators.
    channels
        PanNuke only: uint16 [H, W, 5], the instance map of each class on its own, in which nuclei
        of different classes may overlap; ids 1..n per channel.
    ignore
        bool [H, W], pixels that nobody annotated: they count neither in training nor in scores.
        None if there are none.
    mpp
        Scale of the pixels, micrometres per pixel.
    """

    image: np.ndarray
    instances: np.ndarray
    allowed: np.ndarray
    tissue: int | None
    source: str
    group: str
    name: str
    guessed: np.ndarray | None = None
    channels: np.ndarray | None = None
    ignore: np.ndarray | None = None
    mpp: float = MPP


@dataclass(frozen=True)
class Entry:
    """What is known of an image without reading its pixels; attributes as of `Annotated`.

    Attributes
    ----------
    shape
        Height and width in pixels, as loaded.
    load
        Function that reads the image.
    checksum
        Of image and labels, if both have been read.
    classes
        Classes of the nuclei with a single allowed class, if the labels have been read.
    mpp
        Of the scan, micrometres per pixel.
    """

    name: str
    source: str
    group: str
    tissue: int | None
    shape: tuple[int, int]
    load: Callable[[], Annotated]
    checksum: int | None = None
    classes: frozenset[int] = frozenset()
    mpp: float = MPP


def fingerprints(data: Dataset) -> dict[str, str]:
    """Number of images and a hash of the entries of each set, to recognise changed data."""
    seen: dict[str, Any] = {}
    count: Counter[str] = Counter()
    for entry in data.entries:
        count[entry.source] += 1
        known = (entry.name, entry.group, entry.tissue, entry.shape, entry.checksum)
        seen.setdefault(entry.source, hashlib.sha256()).update(repr(known).encode())
    return {
        source: f"{count[source]} images, {digest.hexdigest()[:12]}"
        for source, digest in sorted(seen.items())
    }


class Dataset(Sequence[Annotated]):
    """Annotated images that are read one by one, each time they are asked for.

    Add data sets to train on several; filter `entries` to split one.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Annotated:
        return self.entries[index].load()

    def __add__(self, other: Dataset) -> Dataset:
        return Dataset(self.entries + other.entries)


def id_problem(ids: np.ndarray) -> str | None:
    """Why an array of numbers cannot be instance ids, as the end of a sentence, or None."""
    fractional = (ids != np.floor(ids)) | np.isinf(ids)
    for wrong, what in ((fractional, "fractional"), (ids < 0, "negative")):
        if wrong.any():
            return f"has {what} ids, such as {ids[wrong][0]}"
    return None
