"""Divide a data set into images for training, for choosing settings and for reporting.

split = hold_back(read_manifest(folder, "train"))
split.training, split.choosing, split.reporting

``split.toml`` lists the groups held back from the sets it names; all other sets follow a rule.
PanNuke as released is split by its folds instead (`training.train`, `training.protocol`).
"""

from __future__ import annotations

import tomllib
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from training.data.annotated import Dataset, Entry
from training.target import CLASSES

LIST = Path(__file__).with_name("split.toml")

_HELD_SHARE = 1 / 8
_HOLDERS = 3  # a class in this many groups can spare one of them
_STRETCH = 200  # one stretch is held back in this many images, if slides are unknown
_REPORTING, _CHOOSING, _GAP = 25, 18, 4  # images of a stretch


@dataclass(frozen=True)
class Split:
    """Training data, and the images held back from it.

    Attributes
    ----------
    training
        Images to learn from.
    choosing
        Images for choosing a recipe and thresholds.
    reporting
        Images for scoring the result.
    """

    training: Dataset
    choosing: Dataset
    reporting: Dataset

    @property
    def held_back(self) -> Dataset:
        """The images for choosing and those for reporting."""
        return self.choosing + self.reporting


def hold_back(data: Dataset) -> Split:
    """Divide a data set into images for training, for choosing settings and for reporting.

    The groups that ``split.toml`` lists are held back. From every set it does not name, an eighth
    of the groups (rounded down) is held back, alternately for reporting and choosing, and one more
    for reporting for each class that occurs in at least three groups but in none of those held
    back. The choice depends on the groups' names only: the same data is always divided in the same
    way. In a large set in which every image is its own group the slides are unknown, and
    neighbouring images may share one. Stretches of the list are held back from such a set, and the
    images on either side of a stretch are not used.
    """
    sets: dict[str, list[Entry]] = {}
    for entry in data.entries:
        sets.setdefault(entry.source, []).append(entry)
    parts: dict[str, list[Entry]] = {"training": [], "choosing": [], "reporting": [], "": []}
    parts_of = listed()
    for source, entries in sets.items():
        of_group = parts_of[source] if source in parts_of else _by_rule(entries)
        for entry in entries:
            parts[of_group.get(entry.group, "training")].append(entry)
    return Split(*(Dataset(parts[name]) for name in ("training", "choosing", "reporting")))


@cache
def listed() -> dict[str, dict[str, str]]:
    """By set of ``split.toml``, the part of each held-back group; empty for groups set aside."""
    names = {"choosing": "choosing", "reporting": "reporting", "aside": ""}
    return {
        source: {group: names[part] for part, groups in held.items() for group in groups}
        for source, held in tomllib.loads(LIST.read_text()).items()
    }


def _by_rule(entries: list[Entry]) -> dict[str, str]:
    """Part of the groups that are held back; no part for the gaps."""
    classes: dict[str, frozenset[int]] = {}
    for entry in entries:
        classes[entry.group] = classes.get(entry.group, frozenset()) | entry.classes
    slides_known = len(classes) < len(entries) or len(entries) < _STRETCH
    return _by_name(classes) if slides_known else _by_stretch(entries)


def _by_name(classes: dict[str, frozenset[int]]) -> dict[str, str]:
    """The part that each held-back group belongs to, given the classes in each group."""
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
