"""What a data set holds: images with their nuclei, known before a pixel is read.

    data = read_manifest(folder, "train") + PanNukeFold(fold)
    data.entries[0].tissue    # at once
    data[0].image             # read now

A `Dataset` is a sequence of `Annotated` images over a list of `Entry`: where an image comes from,
how large it is and how to load it. Splits and sampling look at the entries alone.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.labels import CLASSES

MPP = 0.25
"""Scale of the network's tiles, micrometres per pixel."""

_HELD_SHARE = 1 / 8
_HOLDERS = 3  # groups with a class, of which one can be spared
_STRETCH = 200  # images in which one stretch is held back, where slides are not known
_REPORTING, _CHOOSING, _GAP = 25, 18, 4  # images of a stretch

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
    """

    name: str
    source: str
    group: str
    tissue: int | None
    shape: tuple[int, int]
    load: Callable[[], Annotated]
    checksum: int | None = None
    classes: frozenset[int] = frozenset()


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


@dataclass(frozen=True)
class Split:
    """Data to learn from, and what is held back of it.

    Attributes
    ----------
    training
        To learn from.
    choosing
        To choose a recipe and thresholds by.
    reporting
        To score what was chosen.
    """

    training: Dataset
    choosing: Dataset
    reporting: Dataset

    @property
    def held_back(self) -> Dataset:
        """All that is held back."""
        return self.choosing + self.reporting


def hold_back(data: Dataset) -> Split:
    """Split into images to train on, to choose settings by and to report.

    Of every set an eighth of the groups (rounded down) is held back, by turns to report and to
    choose, and one more to report for each class that none of them holds though three groups of
    the set do. Which ones depends on their names: the same data always splits in the same way.
    A large set in which every image is a group of its own does not tell its slides, and images
    that follow each other may be of one: there stretches of the list are held back, and images on
    either side of a stretch belong to no part.
    """
    sets: dict[str, list[Entry]] = {}
    for entry in data.entries:
        sets.setdefault(entry.source, []).append(entry)
    parts: dict[str, list[Entry]] = {"training": [], "choosing": [], "reporting": [], "": []}
    for entries in sets.values():
        classes: dict[str, frozenset[int]] = {}
        for entry in entries:
            classes[entry.group] = classes.get(entry.group, frozenset()) | entry.classes
        slides_known = len(classes) < len(entries) or len(entries) < _STRETCH
        of_group = _by_name(classes) if slides_known else _by_stretch(entries)
        for entry in entries:
            parts[of_group.get(entry.group, "training")].append(entry)
    return Split(*(Dataset(parts[name]) for name in ("training", "choosing", "reporting")))


def _by_name(classes: dict[str, frozenset[int]]) -> dict[str, str]:
    """Part of the groups that are held back, by the classes of each group."""
    shuffled = sorted(classes, key=lambda name: zlib.crc32(name.encode()))
    held = shuffled[: int(len(shuffled) * _HELD_SHARE)]
    parts = {group: ("reporting", "choosing")[n % 2] for n, group in enumerate(held)}
    for class_id in range(1, len(CLASSES)):
        holders = [group for group in shuffled if class_id in classes[group]]
        if len(holders) >= _HOLDERS and not parts.keys() & set(holders):
            parts[holders[0]] = "reporting"
    return parts


def _by_stretch(entries: list[Entry]) -> dict[str, str]:
    """Part of the groups that are held back; no part for the gaps."""
    stretch = ("reporting",) * _REPORTING + ("choosing",) * _CHOOSING + ("",) * _GAP
    parts = {}
    for number, entry in enumerate(entries):
        place = number % _STRETCH
        if place < len(stretch):
            parts[entry.group] = stretch[place]
        elif place >= _STRETCH - _GAP:
            parts[entry.group] = ""
    return parts


def id_problem(ids: np.ndarray) -> str | None:
    """What keeps an array of numbers from being instance ids, as the end of a sentence."""
    fractional = (ids != np.floor(ids)) | np.isinf(ids)
    for wrong, what in ((fractional, "fractional"), (ids < 0, "negative")):
        if wrong.any():
            return f"has {what} ids, such as {ids[wrong][0]}"
    return None
