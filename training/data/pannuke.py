"""PanNuke as released by its authors (Gamper et al. 2020), memory-mapped.

    folds = find_folds(Path("PanNuke"))    {1: .../Fold 1, 2: .../Fold 2, 3: .../Fold 3}
    fold = PanNukeFold(folds[1])

    Fold 1/images/fold1/images.npy    [N, 256, 256, 3], RGB, 0..255, floating point
    Fold 1/images/fold1/types.npy     [N], name of the tissue
    Fold 1/masks/fold1/masks.npy      [N, 256, 256, 6], instance ids per class, then background

An instance map of one class numbers its nuclei with gaps, and maps of different classes may
overlap.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from training.data.annotated import Annotated, DataError, Dataset, Entry, id_problem
from training.target import CLASSES
from tsfd_client.contract import TISSUES

SIDE = 256
"""Height and width of a patch in pixels."""

SOURCE = "pannuke"
"""Name of the data set in `Annotated.source`."""

_NUCLEUS_CLASSES = len(CLASSES) - 1
_ARRAYS = (("images", "images.npy"), ("images", "types.npy"), ("masks", "masks.npy"))


def find_folds(folder: Path) -> dict[int, Path]:
    """Find the folders of PanNuke's folds in `folder`, at any depth; returns them by number.

    A fold is a folder with ``images`` and ``masks``; its number is in its name or in theirs.

    Raises
    ------
    DataError
        If there is none, or two with the same number.
    """
    folds: dict[int, Path] = {}
    # Not Path.rglob, which does not follow links: large data is often linked to.
    walk = os.walk(folder, followlinks=True)
    for fold in sorted(Path(room) for room, names, _ in walk if {"images", "masks"} & set(names)):
        number = _number(fold)
        if number is None:
            continue
        if number in folds and folds[number].resolve() != fold.resolve():
            raise DataError(f"Fold {number} lies in {folds[number]} and in {fold}: remove one.")
        folds.setdefault(number, fold)
    if not folds:
        raise DataError(
            f"{folder} holds no fold of PanNuke: expected Fold 1/images/fold1/images.npy and so on."
        )
    return dict(sorted(folds.items()))


def _number(fold: Path) -> int | None:
    names = [fold.resolve().name, *(path.name for path in sorted(fold.glob("*/*")))]
    found = (re.fullmatch(r"fold[ _]?(\d)", name, re.IGNORECASE) for name in names)
    return next((int(match[1]) for match in found if match), None)


class PanNukeFold(Dataset):
    """One fold; its arrays are memory-mapped, and a patch is decoded when it is asked for.

    PanNuke does not say which patches come from the same patient, so each patch is its own group;
    only the authors' folds keep patients apart.

    Parameters
    ----------
    folder
        Folder with ``images`` and ``masks``, such as ``Fold 1``; see `find_folds`.

    Attributes
    ----------
    images, masks
        The arrays as released, `numpy.memmap`.

    Raises
    ------
    DataError
        If an array is missing or has a wrong shape or type, or a tissue is unknown; and from
        ``fold[index]`` if that patch's values are not an image or not instance ids.
    """

    def __init__(self, folder: Path) -> None:
        problem = next(fold_problems(folder), None)
        if problem:
            raise DataError(problem)
        number = _number(folder)
        self.images, types, self.masks = (_map(folder, *array) for array in _ARRAYS)
        super().__init__(
            Entry(
                name=f"fold{number}/{index}",
                source=SOURCE,
                group=f"fold{number}/{index}",
                tissue=TISSUES.index(str(tissue)),
                shape=(SIDE, SIDE),
                load=partial(self._load, index),
            )
            for index, tissue in enumerate(types)
        )

    def problems(self, index: int) -> Iterator[str]:
        """What is wrong with a patch, one sentence each.

        Besides what makes it unreadable, this names ids that occur in two class channels and a
        background channel that contradicts the nuclei. Neither is used, but both are signs of a
        damaged file.
        """
        unreadable = list(self._unreadable(index))
        yield from unreadable
        if not unreadable:
            for problem in _doubts(np.asarray(self.masks[index])):
                yield f"{self.masks.filename}, patch {index}: {problem}."

    def _unreadable(self, index: int) -> Iterator[str]:
        image = self.images[index]
        low, high = image.min(), image.max()
        # Rules out images scaled to 0..1, which would be read as black.
        if not (low >= 0 and 1 < high <= 255):
            yield (
                f"{self.images.filename}, patch {index}: the values reach from {low:g} to "
                f"{high:g}, not 0 to 255."
            )
        for channel, name in enumerate(CLASSES[1:]):
            problem = id_problem(self.masks[index, ..., channel])
            if problem:
                yield f"{self.masks.filename}, patch {index}: the {name} channel {problem}."

    def _load(self, index: int) -> Annotated:
        problem = next(self._unreadable(index), None)
        if problem:
            raise DataError(problem)
        entry = self.entries[index]
        channels = np.zeros((SIDE, SIDE, _NUCLEUS_CLASSES), np.uint16)
        for channel in range(_NUCLEUS_CLASSES):
            channels[..., channel] = _contiguous(self.masks[index, ..., channel])
        instances, classes = _unite(channels)
        return Annotated(
            image=np.rint(self.images[index]).astype(np.uint8),
            instances=instances,
            allowed=np.concatenate([[1], 1 << classes]).astype(np.uint8),
            tissue=entry.tissue,
            source=entry.source,
            group=entry.group,
            name=entry.name,
            channels=channels,
        )


def fold_problems(folder: Path) -> Iterator[str]:
    """What is wrong with a fold's arrays, one sentence each, without reading the pixels."""
    if _number(folder) is None:
        yield f"{folder} is not a fold of PanNuke: its name must be Fold 1, Fold 2 or Fold 3."
        return
    arrays = {}
    for room, name in _ARRAYS:
        try:
            arrays[name] = _map(folder, room, name)
        except DataError as error:
            yield str(error)
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{count} in {name}" for name, count in lengths.items())
        yield f"{folder} has different numbers of patches: {counts}."
    for name, depth in (("images.npy", 3), ("masks.npy", _NUCLEUS_CLASSES + 1)):
        if name in arrays:
            yield from _pixels_problems(arrays[name], depth)
    if "types.npy" in arrays:
        yield from _types_problems(arrays["types.npy"])


def _map(folder: Path, room: str, name: str) -> np.memmap:
    path = next(folder.glob(f"{room}/**/{name}"), None)
    if path is None:
        raise DataError(f"{name} is missing in {folder / room}.")
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be mapped into memory: {str(error).rstrip('.')}."
        ) from error


def _pixels_problems(array: np.memmap, depth: int) -> Iterator[str]:
    if array.shape[1:] != (SIDE, SIDE, depth):
        yield (
            f"{array.filename} is {list(array.shape)} and should be [N, {SIDE}, {SIDE}, {depth}]."
        )
    if array.dtype.kind not in "uif":
        yield f"{array.filename} holds {array.dtype} and should hold numbers."


def _types_problems(types: np.memmap) -> Iterator[str]:
    if types.ndim != 1 or types.dtype.kind != "U":
        yield (
            f"{types.filename} is {types.dtype} {list(types.shape)} and should be a text per patch."
        )
        return
    for tissue in sorted(set(types.tolist()) - set(TISSUES)):
        where = np.flatnonzero(types == tissue)
        yield (
            f"{types.filename}: the tissue {tissue!r} is unknown (patches: {len(where)}, first "
            f"{where[0]}); known are {', '.join(TISSUES)}."
        )


def _doubts(masks: np.ndarray) -> Iterator[str]:
    nuclei = masks[..., :_NUCLEUS_CLASSES]
    owners: dict[int, list[int]] = {}
    for channel in range(_NUCLEUS_CLASSES):
        for instance in np.unique(nuclei[..., channel]).tolist():
            if instance:
                owners.setdefault(instance, []).append(channel)
    shared = {instance: channels for instance, channels in owners.items() if len(channels) > 1}
    if shared:
        instance, channels = next(iter(shared.items()))
        names = " and ".join(CLASSES[channel + 1] for channel in channels)
        over = sum(np.count_nonzero((nuclei == i).sum(-1) > 1) for i in shared)
        yield (
            f"ids shared between channels: {len(shared)} (first {instance:.0f}, in {names}), "
            f"with {over} pixels in both"
        )
    wrong = np.count_nonzero((masks[..., _NUCLEUS_CLASSES] > 0) == nuclei.any(axis=-1))
    if wrong:
        yield f"the background channel contradicts the nuclei at {wrong} pixels"


def _contiguous(ids: np.ndarray) -> np.ndarray:
    """Renumber instances 1..n in the order of their ids; uint16."""
    inside = ids > 0
    numbered = np.zeros(ids.shape, np.uint16)
    numbered[inside] = np.unique(ids[inside], return_inverse=True)[1] + 1
    return numbered


def _unite(channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unite the channels into one instance map; later classes cover earlier ones, as in PanNuke.

    Returns
    -------
    instances
        uint16 [H, W], ids 1..n.
    classes
        int64 [n], class of each instance.
    """
    united = np.zeros(channels.shape[:2], np.int64)
    for channel in range(channels.shape[-1]):
        ids = channels[..., channel].astype(np.int64)
        united = np.where(ids > 0, ids + ((channel + 1) << 16), united)
    instances = _contiguous(united)
    return instances, np.unique(united[united > 0]) >> 16
