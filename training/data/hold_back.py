"""Which images of a data set train, which choose settings, and which report.

split = hold_back(read_manifest(folder, "train"))
split.training, split.choosing, split.reporting

Groups of the sets named in ``split.toml`` are split as it says, other sets by a rule. PanNuke as
released is split by its folds instead (`training.train`, `training.protocol`).
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
_HOLDERS = 3  # groups with a class, of which one can be spared
_STRETCH = 200  # images in which one stretch is held back, where slides are not known
_REPORTING, _CHOOSING, _GAP = 25, 18, 4  # images of a stretch


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

    Of a set that ``split.toml`` names, what it lists is held back. Of every other set an eighth of
    the groups (rounded down) is held back, by turns to report and to choose, and one more to report
    for each class that none of them holds though three groups of the set do. Which ones depends on
    their names: the same data always splits in the same way.
    A large set in which every image is a group of its own does not tell its slides, and images
    that follow each other may be of one: there stretches of the list are held back, and images on
    either side of a stretch belong to no part.
    """
    sets: dict[str, list[Entry]] = {}
    for entry in data.entries:
        sets.setdefault(entry.source, []).append(entry)
    parts: dict[str, list[Entry]] = {"training": [], "choosing": [], "reporting": [], "": []}
    listed = _listed()
    for source, entries in sets.items():
        of_group = listed[source] if source in listed else _by_rule(entries)
        for entry in entries:
            parts[of_group.get(entry.group, "training")].append(entry)
    return Split(*(Dataset(parts[name]) for name in ("training", "choosing", "reporting")))


@cache
def _listed() -> dict[str, dict[str, str]]:
    """By set, part of the groups that are held back; no part for those set aside."""
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
