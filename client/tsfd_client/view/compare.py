"""Compare two results of one image, nucleus by nucleus.

Nuclei match if their intersection over union exceeds one half, so that each has at most one partner
(Kirillov et al., Panoptic Segmentation, CVPR 2019).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tsfd_client.errors import OutputError
from tsfd_client.files import PARQUET, replacing
from tsfd_client.names import shown
from tsfd_client.nuclei.raster import draw
from tsfd_client.nuclei.table import (
    Info,
    Writer,
    classes_of,
    count,
    read_batches,
    read_info,
    reading,
)
from tsfd_client.pixels.origin import Origin
from tsfd_client.pixels.tissue import FILE as TISSUE
from tsfd_client.release import NucleusClass
from tsfd_client.settings import Settings
from tsfd_client.view.results import COMPARISON, Result

_SIDE: Final = 2048  # pixels: side of the squares drawn at a time
_ONLY_A, _ONLY_B, _OTHER = 1, 2, 3
_KINDS: Final = ("only in A", "only in B", "of another class")
_COLOURS: Final = ((230, 50, 30), (0, 114, 255), (245, 225, 40))


@dataclass(frozen=True)
class Comparison:
    """The matched nuclei of two results.

    Attributes
    ----------
    a, b
        The results.
    classes
        Names of the classes of either result, starting with the background.
    classes_a, classes_b
        uint8 [n], uint8 [m]: the class of each nucleus, as an index into `classes`.
    partners_a
        int64 [n]: for each nucleus of a, the row of its match in b, -1 for none.
    """

    a: Result
    b: Result
    classes: tuple[str, ...]
    classes_a: np.ndarray
    classes_b: np.ndarray
    partners_a: np.ndarray

    @property
    def partners_b(self) -> np.ndarray:
        """For each nucleus of b, the row of its match in a, -1 for none; int64 [m]."""
        partners = np.full(len(self.classes_b), -1)
        matched = np.flatnonzero(self.partners_a >= 0)
        partners[self.partners_a[matched]] = matched
        return partners

    def changes(self) -> np.ndarray:
        """Count nuclei of class i in a and class j in b, int64 [k, k]; class 0 is no match."""
        is_new = self.partners_b < 0
        mine = np.concatenate([self.classes_a, np.zeros(is_new.sum(), np.uint8)])
        theirs = np.concatenate([self.classes_in_b(), self.classes_b[is_new]])
        table: np.ndarray = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(table, (mine, theirs), 1)
        return table

    def classes_in_b(self) -> np.ndarray:
        """Class in b of each nucleus of a, 0 for no match; uint8 [n]."""
        classes = np.zeros(len(self.classes_a), np.uint8)
        matched = self.partners_a >= 0
        classes[matched] = self.classes_b[self.partners_a[matched]]
        return classes

    def text(self) -> str:
        """Format the comparison as a text table."""
        table = self.changes()
        rows: list[tuple[str, ...]] = [("class", "A", "B", "both", "only A", "only B")]
        for number, name in enumerate(self.classes[1:], 1):
            mine, theirs = table[number].sum(), table[:, number].sum()
            both = table[number, number]
            rows.append((name, *map(str, (mine, theirs, both, table[number, 0], table[0, number]))))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.rjust, row, widths)) for row in rows]
        changed = [
            f"{table[i, j]} {self.classes[i]} -> {self.classes[j]}"
            for i, j in sorted(np.argwhere(table).tolist(), key=lambda ij: -table[*ij])
            if i and j and i != j
        ]
        named = [f"{side}: {shown(r.folder)}" for side, r in (("A", self.a), ("B", self.b))]
        return "\n".join(
            [*named, "", *lines, "", "Other classes: " + (", ".join(changed) or "none")]
        )


def compare(a: Result, b: Result) -> Comparison:
    """Match the nuclei of two results of one image.

    Raises
    ------
    OutputError
        If one of them is not finished or damaged, or their images or scales differ.
    """
    for result in (a, b):
        if (result.folder / COMPARISON).is_file():
            raise OutputError(f"{result.folder} is a comparison itself.")
    infos = read_info(a.nuclei), read_info(b.nuclei)
    origins = Origin.read(a.folder), Origin.read(b.folder)
    known = [origin.fingerprint for origin in origins if origin]
    if len(set(known)) > 1 or _frame(infos[0]) != _frame(infos[1]):
        raise OutputError(
            f"{a.folder} and {b.folder} are not results of the same image at the same scale."
        )
    # Releases may have different classes.
    names = tuple(dict.fromkeys(name for info in infos for name in info.release.class_names))
    classes_a, classes_b = (_classes(result.nuclei, names) for result in (a, b))
    partners = np.full(len(classes_a), -1)
    with reading(f"{a.folder} or {b.folder}"):  # files may be readable but make no sense
        matched = match(a.nuclei, b.nuclei)
        partners[matched[:, 0] - 1] = matched[:, 1] - 1
    return Comparison(a, b, names, classes_a, classes_b, partners)


def match(a: Path, b: Path) -> np.ndarray:
    """Match nuclei of two tables by intersection over union > 0.5; returns ids, int64 [k, 2]."""
    keys, pixels = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for (_, _, in_a), (_, _, in_b) in zip(draw(a, _SIDE), draw(b, _SIDE), strict=True):
        if in_a is None or in_b is None:
            continue
        both = (in_a > 0) & (in_b > 0)
        found, times = np.unique(
            in_a[both].astype(np.uint64) << np.uint64(32) | in_b[both], return_counts=True
        )
        keys.append(found)
        pixels.append(times)
    # A pair may overlap in several squares.
    pairs, which = np.unique(np.concatenate(keys), return_inverse=True)
    common = np.bincount(which, np.concatenate(pixels), len(pairs))
    ids = np.stack([pairs >> np.uint64(32), pairs & np.uint64(2**32 - 1)], axis=1).astype(np.int64)
    union = _pixels(a)[ids[:, 0] - 1] + _pixels(b)[ids[:, 1] - 1] - common
    matched: np.ndarray = ids[common > 0.5 * union]
    return matched


def write(comparison: Comparison, folder: Path) -> None:
    """Write the nuclei in which two results differ, as a result that the page can show.

    Raises
    ------
    OutputError
        If it cannot be written, or `folder` contains something else.
    """
    a, b = comparison.a, comparison.b
    info = read_info(a.nuclei)
    classes = tuple(map(NucleusClass, _KINDS, _COLOURS))
    release = replace(info.release, name="", classes=classes, settings=Settings(), digests={})
    info = replace(info, release=release)
    kinds_a = np.where(comparison.classes_in_b() != comparison.classes_a, _OTHER, 0)
    kinds_a[comparison.partners_a < 0] = _ONLY_A
    kinds_b = np.where(comparison.partners_b < 0, _ONLY_B, 0)
    colours = read_info(b.nuclei).release.colours | read_info(a.nuclei).release.colours
    facts: dict[str, Any] = {
        "a": shown(a.folder),
        "b": shown(b.folder),
        "classes": comparison.classes,
        "colours": [colours.get(name) for name in comparison.classes],
        "changes": comparison.changes().tolist(),
        # Of each nucleus that differs, in the table's order; 0 where it is missing.
        "classes_a": [
            *comparison.classes_a[kinds_a > 0].tolist(),
            *[0] * np.count_nonzero(kinds_b),
        ],
        "classes_b": [
            *comparison.classes_in_b()[kinds_a > 0].tolist(),
            *comparison.classes_b[kinds_b > 0].tolist(),
        ],
    }
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / COMPARISON).is_file():
            raise OutputError(f"{folder} contains something else: choose another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        with Writer(folder / PARQUET, info) as writer:
            for path, kinds in ((a.nuclei, kinds_a), (b.nuclei, kinds_b)):
                _copy(path, kinds, release.class_names, writer.write)
        origin = Origin.read(a.folder)
        if origin:
            origin.write(folder)
        tissue = _tissue(a)
        if tissue and tissue == _tissue(b):
            (folder / TISSUE).write_bytes(tissue)
        else:  # densities are per mm² of the whole image
            (folder / TISSUE).unlink(missing_ok=True)
        with replacing(folder / COMPARISON) as partial:
            partial.write_text(json.dumps(facts, indent=1) + "\n")
    except OSError as error:
        raise OutputError(f"Cannot write into {folder}: {error.strerror or error}.") from error


def _tissue(result: Result) -> bytes | None:
    path = result.folder / TISSUE
    return path.read_bytes() if path.is_file() else None


def _copy(
    path: Path, kinds: np.ndarray, names: Sequence[str], write: Callable[[pa.Table], None]
) -> None:
    """Copy the nuclei of a table whose kind is not 0, with the kind's name as their class."""
    begin = 0
    for table in read_batches(path):
        of = kinds[begin : begin + len(table)]
        begin += len(table)
        place = table.schema.get_field_index("class")
        named = pc.take(pa.array(names), pa.array(of[of > 0]))
        write(table.filter(pa.array(of > 0)).set_column(place, table.schema.field(place), named))


def _classes(parquet: Path, names: Sequence[str]) -> np.ndarray:
    batches = read_batches(parquet, ["class"])
    classes: np.ndarray = np.concatenate(
        [np.empty(0, np.uint8), *(classes_of(batch, names) for batch in batches)]
    )
    return classes


def _frame(info: Info) -> tuple[int, int, float, float]:
    return info.width, info.height, info.mpp, info.scale


def _pixels(parquet: Path) -> np.ndarray:
    """Areas of a table's nuclei, in pixels of the label image; int64 [n]."""
    info, areas = read_info(parquet), np.empty(count(parquet), np.float64)
    begin = 0
    for table in read_batches(parquet, ["area_um2"]):
        areas[begin : begin + len(table)] = table["area_um2"].to_numpy()
        begin += len(table)
    pixels: np.ndarray = np.rint(areas / (info.mpp * info.scale) ** 2).astype(np.int64)
    return pixels
