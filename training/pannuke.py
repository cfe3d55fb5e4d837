"""PanNuke as its authors release it (Gamper et al. 2020), read without loading it whole.

    folds = find_folds(Path("PanNuke"))    {1: .../Fold 1, 2: .../Fold 2, 3: .../Fold 3}
    fold = PanNukeFold(folds[1])

    Fold 1/images/fold1/images.npy    [N, 256, 256, 3], RGB, 0..255, floating point
    Fold 1/images/fold1/types.npy     [N], name of the tissue
    Fold 1/masks/fold1/masks.npy      [N, 256, 256, 6], instance ids per class, then background

An instance map of one class numbers its nuclei with gaps, and maps of different classes may
overlap.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from training.annotated import Annotated, DataError, Dataset, Entry
from training.labels import CLASSES, TISSUES

SIDE = 256
"""Height and width of a patch in pixels."""

SOURCE = "pannuke"
"""Name of the data set in `Annotated.source`."""

_NUCLEUS_CLASSES = len(CLASSES) - 1


def find_folds(folder: Path) -> dict[int, Path]:
    """Folders of PanNuke's folds by number, wherever they lie in `folder` (or `folder` itself).

    A fold is what holds ``images`` and ``masks``; its number stands in its name or in theirs.

    Raises
    ------
    DataError
        If there is none, or two with the same number.
    """
    folds: dict[int, Path] = {}
    rooms = (path for name in ("images", "masks") for path in folder.rglob(name))
    for fold in sorted({room.parent for room in rooms if room.is_dir()}):
        number = _number(fold)
        if number is None:
            continue
        if number in folds:
            raise DataError(f"Fold {number} lies in {folds[number]} and in {fold}: remove one.")
        folds[number] = fold
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
    """One fold, its arrays mapped into memory; a patch is decoded when it is asked for.

    PanNuke does not say which patches come from the same patient: each is a group of its own, and
    only the authors' folds keep patients apart.

    Parameters
    ----------
    folder
        What holds ``images`` and ``masks``, such as ``Fold 1``; see `find_folds`.

    Attributes
    ----------
    images, masks
        The arrays as released, `numpy.memmap`.

    Raises
    ------
    DataError
        If an array is missing or of another shape or type, or a tissue is not known.
    """

    def __init__(self, folder: Path) -> None:
        number = _number(folder)
        self.images = _map(folder, "images", "images.npy")
        self.masks = _map(folder, "masks", "masks.npy")
        types = _map(folder, "images", "types.npy")
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

    def _load(self, index: int) -> Annotated:
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


def _map(folder: Path, room: str, name: str) -> np.ndarray:
    path = next(folder.glob(f"{room}/**/{name}"), None)
    if path is None:
        raise DataError(f"There is no {room}/*/{name} in {folder}.")
    return np.lib.format.open_memmap(path, mode="r")


def _contiguous(ids: np.ndarray) -> np.ndarray:
    """The same instances numbered 1..n in the order of their ids, uint16."""
    inside = ids > 0
    numbered = np.zeros(ids.shape, np.uint16)
    numbered[inside] = np.unique(ids[inside], return_inverse=True)[1] + 1
    return numbered


def _unite(channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One instance map, a later class over an earlier one as PanNuke's authors do.

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
