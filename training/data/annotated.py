"""What a data set holds: images with their nuclei, known before a pixel is read.

    data = read_manifest(folder, "train") + PanNukeFold(fold)
    data.entries[0].tissue    # at once
    data[0].image             # read now

A `Dataset` is a sequence of `Annotated` images over a list of `Entry`: where an image comes from,
how large it is and how to load it. Splits and sampling look at the entries alone.
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
"""Scale that images are brought to, micrometres per pixel."""

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
    """One image at 0.25 mpp, in memory.

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
        bool [n + 1], whether borders with touching nuclei were put there by a watershed and not
        by the annotators, by instance id.
    channels
        PanNuke only: uint16 [H, W, 5], the instance map of each class on its own, in which nuclei
        of different classes may overlap; ids 1..n per channel.
    ignore
        bool [H, W], pixels of which nobody says what they are: they neither train nor count in
        scores. None if there are none.
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


@dataclass(frozen=True)
class Entry:
    """What is known of an image without reading its pixels; attributes as of `Annotated`.

    Attributes
    ----------
    shape
        Height and width in pixels, at 0.25 mpp.
    load
        Reads the image.
    checksum
        Of image and labels, where both were read already.
    classes
        Classes of nuclei that can be of one class only, where labels were read already.
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
    """By set, how many images it has and a hash of what they are: another one is other data."""
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
    """What keeps an array of numbers from being instance ids, as the end of a sentence."""
    fractional = (ids != np.floor(ids)) | np.isinf(ids)
    for wrong, what in ((fractional, "fractional"), (ids < 0, "negative")):
        if wrong.any():
            return f"has {what} ids, such as {ids[wrong][0]}"
    return None
