"""Count what a data set holds and find everything that is broken in it.

tallies, problems = check_manifest(folder)    # or check_pannuke
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.data.annotated import MPP, Annotated, DataError, Dataset, Entry
from training.data.borders import Borders
from training.data.hold_back import hold_back
from training.data.manifest import (
    MANIFEST,
    entry_problems,
    examine,
    in_memory,
    listing_problems,
    read_entries,
)
from training.data.pannuke import PanNukeFold, find_folds, fold_problems
from training.target import CLASSES
from tsfd_client.contract import TISSUES


@dataclass
class Tally:
    """What one split or fold holds.

    Attributes
    ----------
    images
        Number of images by data set.
    groups
        Patients or slides, as (data set, group); empty where they are not known.
    nuclei
        Number of nuclei by label.
    tissues, scales
        Number of images by tissue and by micrometres per pixel.
    left_out
        Number of images with pixels that are left out, by reason.
    """

    images: Counter[str] = field(default_factory=Counter)
    groups: set[tuple[str, str]] = field(default_factory=set)
    nuclei: Counter[str] = field(default_factory=Counter)
    tissues: Counter[str] = field(default_factory=Counter)
    scales: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, annotated: Annotated, *, nuclei: Counter[str], mpp: float) -> None:
        """Count one image."""
        self.images[annotated.source] += 1
        if annotated.group != annotated.name:
            self.groups.add((annotated.source, annotated.group))
        self.nuclei += nuclei
        tissue = "not given" if annotated.tissue is None else TISSUES[annotated.tissue]
        self.tissues[tissue] += 1
        self.scales[f"{mpp:g}"] += 1


class Twins:
    """Finds images that have the same pixels."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}

    def problem(self, image: np.ndarray, name: str) -> Iterator[str]:
        """Yield a sentence if these pixels have been seen under another name."""
        digest = hashlib.sha256(str(image.shape).encode() + image.tobytes()).digest()
        if self._names.setdefault(digest, name) != name:
            yield f"{name} has the same pixels as {self._names[digest]}."


def check_manifest(folder: Path) -> tuple[dict[str, Tally], list[str]]:
    """Read everything that a manifest lists; return tallies by split, and the problems."""
    try:
        entries = read_entries(folder)
    except DataError as error:
        return {}, [str(error)]
    problems = list(listing_problems(folder, entries))
    splits: dict[str, Tally] = {}
    twins, borders = Twins(), Borders()
    read: dict[str, list[Entry]] = {}
    sound = [entry for entry in entries if not any(entry_problems(entry))]
    for entry in tqdm(sound, desc=str(folder), unit=" images", disable=None):
        examined = examine(folder, entry)
        problems += examined.problems
        if examined.annotated is not None:
            tally = splits.setdefault(entry["split"], Tally())
            tally.add(examined.annotated, nuclei=Counter(examined.labels), mpp=entry["mpp"])
            tally.left_out["partial"] += entry.get("partial", False)
            tally.left_out["ignore"] += examined.ignored
            problems += twins.problem(examined.annotated.image, str(folder / entry["image"]))
            borders.add(examined.annotated.image, entry["image"])
            read.setdefault(entry["split"], []).append(in_memory(examined.annotated, entry["mpp"]))
    problems += _divided_fields(borders, _sides(read))
    return dict(sorted(splits.items())), problems


def _sides(read: dict[str, list[Entry]]) -> dict[str, str]:
    """By image, what it is for."""
    split = hold_back(Dataset(read.pop("train", [])))
    sides = {
        "trained on": split.training.entries,
        "held back to choose by": split.choosing.entries,
        "held back to report": split.reporting.entries,
        **{f"in the split {name!r}": entries for name, entries in read.items()},
    }
    return {entry.name: side for side, entries in sides.items() for entry in entries}


def _divided_fields(borders: Borders, sides: dict[str, str]) -> Iterator[str]:
    for first, second in borders.pairs():
        one, other = sides.get(first), sides.get(second)
        if one and other and one != other:
            yield (
                f"{first} and {second} are tiles of one field, but one is {one} and the other "
                f"{other}: give all tiles of a field the same 'group' and 'split'."
            )


def check_pannuke(folder: Path) -> tuple[dict[str, Tally], list[str]]:
    """Read every patch of PanNuke's folds; return tallies by fold, and the problems."""
    try:
        folders = find_folds(folder)
    except DataError as error:
        return {}, [f"There is no {folder / MANIFEST}, and {error}"]
    problems: list[str] = []
    folds: dict[str, Tally] = {}
    twins = Twins()
    for number, path in folders.items():
        broken = list(fold_problems(path))
        problems += broken
        if broken:
            continue
        tally = folds[f"fold {number}"] = Tally()
        fold = PanNukeFold(path)
        for index in tqdm(range(len(fold)), desc=str(path), unit=" patches", disable=None):
            problems += fold.problems(index)
            try:
                patch = fold[index]
            except DataError:
                continue
            counts = patch.channels.max(axis=(0, 1)).tolist()
            nuclei = Counter(dict(zip(CLASSES[1:], counts, strict=True)))
            tally.add(patch, nuclei=nuclei, mpp=MPP)
            problems += twins.problem(patch.image, patch.name)
    return folds, problems
