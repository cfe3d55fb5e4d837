"""Find the nucleus of each mark.

- A point or a detection belongs to the nucleus whose outline contains it; otherwise to the nucleus
  with the nearest centroid within 6 µm, unless another mark is in that nucleus or nearer to it. A
  mark with no nucleus is a miss.
- "Not a nucleus" is of what is outlined at its place alone: beside an outline, it must be at the
  centroid. Where nothing is found any more, no neighbour takes its place.
- A region belongs to all nuclei whose centroids it contains. What a point says of a nucleus goes
  before what the region around it says.
- Nuclei of which marks disagree get no label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tsfd_client.classes.labels import MISSING_NUCLEUS, NOT_A_NUCLEUS, key
from tsfd_client.classes.marks import Mark
from tsfd_client.nuclei.ranges import ranges
from tsfd_client.nuclei.table import Info, boxes_of, read_batches, read_info, rings_of

REACH_UM: Final = 6.0
"""Farthest centroid to which a mark outside of all nuclei belongs."""
AT_UM: Final = 1.0
"""As far as that, a mark is at a centroid, which may be outside of its nucleus."""
_CELL_UM: Final = 16.0


@dataclass(frozen=True)
class Marked:
    """The marked nuclei of a result.

    Attributes
    ----------
    rows
        int64 [n]; rows of ``nuclei.parquet`` in increasing order, with a class each.
    labels
        n classes, spelt as in the release, or as in the first mark of the class.
    not_nuclei
        int64 [m]; rows that are marked as no nucleus.
    missing
        Marks of nuclei that were overlooked.
    misses
        Marks with a class that are on no nucleus.
    repeated
        Number of points and detections on a nucleus that another one has given the same label.
    problems
        For each mark or pair of marks that cannot be used, a sentence that names them.
    """

    rows: np.ndarray
    labels: list[str]
    not_nuclei: np.ndarray
    missing: list[Mark]
    misses: list[Mark]
    repeated: int
    problems: list[str]


def match(marks: Iterable[Mark], parquet: Path, spellings: dict[str, str]) -> Marked:
    """Find the nuclei of marks.

    Parameters
    ----------
    marks
        Of this result alone.
    parquet
        Its ``nuclei.parquet``.
    spellings
        Made by `tsfd_client.classes.labels.spellings` of all labels.

    Raises
    ------
    OutputError
        If the table is damaged.
    """
    info, problems = read_info(parquet), list[str]()
    centroids = centroids_of(parquet)
    inside = [mark for mark in marks if _is_in_image(mark, info, problems)]
    points = [mark for mark in inside if mark.kind != "region"]
    on, nearest = _rows(points, parquet, info, centroids)

    claims, missing, misses = list[tuple[Mark, list[int]]](), [], []
    for mark, contains, near in zip(points, on.tolist(), nearest.tolist(), strict=True):
        label, row = key(mark.label), contains if contains >= 0 else near
        if label == key(MISSING_NUCLEUS):
            if contains >= 0:
                problems.append(f"{mark.where}: there is a nucleus here, number {contains + 1}.")
            else:
                missing.append(mark)
        elif row < 0:
            misses.append(mark)
        else:
            claims.append((mark, [row]))
    said, repeated = _settle(claims, problems)
    around, _ = _settle(_in_regions(inside, centroids, problems), problems)

    chosen = {row: mark for row, mark in sorted((around | said).items()) if mark}
    labels = {row: spellings[key(mark.label)] for row, mark in chosen.items()}
    rows = [row for row, label in labels.items() if label != NOT_A_NUCLEUS]
    return Marked(
        rows=np.array(rows, np.int64),
        labels=[labels[row] for row in rows],
        not_nuclei=np.array([row for row in labels if labels[row] == NOT_A_NUCLEUS], np.int64),
        missing=missing,
        misses=misses,
        repeated=repeated,
        problems=problems,
    )


def said_by_people(marks: Sequence[Mark], parquet: Path) -> list[Mark]:
    """Leave out detections with the class that they have in the table: they say nothing.

    Programs export all detections, of which people have changed a few.

    Raises
    ------
    OutputError
        If the table is damaged.
    """
    info = read_info(parquet)
    found = [mark for mark in marks if mark.kind == "detection" and _is_in_image(mark, info, [])]
    if not found:
        return list(marks)
    tables = read_batches(parquet, ["class"])
    classes = [name for table in tables for name in table["class"].to_pylist()]
    on, nearest = _rows(found, parquet, info, centroids_of(parquet))
    rows = np.where(on >= 0, on, nearest).tolist()
    unchanged = {
        mark
        for mark, row in zip(found, rows, strict=True)
        if row >= 0 and key(mark.label) == key(classes[row])
    }
    return [mark for mark in marks if mark not in unchanged]


def distinct(marks: Iterable[Mark]) -> list[Mark]:
    """The first of all marks that give one place the same label, as copies of a file do."""
    first: dict[object, Mark] = {}
    for mark in marks:
        rings = tuple(ring.tobytes() for ring in mark.rings)
        first.setdefault((key(mark.label), mark.kind, rings or (mark.x, mark.y)), mark)
    return list(first.values())


def centroids_of(parquet: Path) -> np.ndarray:
    """Read the centroids of all nuclei, float64 [n, 2]."""
    tables = read_batches(parquet, ["centroid_x", "centroid_y"])
    places = (np.column_stack([t["centroid_x"], t["centroid_y"]]) for t in tables)
    return np.concatenate([np.empty((0, 2)), *places])


def _rows(
    points: Sequence[Mark], parquet: Path, info: Info, centroids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nucleus that contains each point, and otherwise the nearest; int64 [n], -1 for none."""
    places = np.array([(mark.x, mark.y) for mark in points], np.float64).reshape(-1, 2)
    on = _containing(places, parquet, _CELL_UM / info.mpp)
    is_none = np.array([key(mark.label) == NOT_A_NUCLEUS for mark in points], bool)
    reach = np.where(is_none, AT_UM, REACH_UM) / info.mpp
    return on, _nearest(places, on, centroids, reach)


def _is_in_image(mark: Mark, info: Info, problems: list[str]) -> bool:
    """Whether a point, or any part of a region, is in the image."""
    corners = np.concatenate(mark.rings) if mark.rings else np.array([(mark.x, mark.y)])
    size = (info.width, info.height)
    if (corners.max(axis=0) >= 0).all() and (corners.min(axis=0) <= size).all():
        return True
    problems.append(
        f"{mark.where}: ({corners[0, 0]:g}, {corners[0, 1]:g}) is outside of the image, "
        f"{info.width} x {info.height} pixels."
    )
    return False


def _settle(
    claims: Iterable[tuple[Mark, Sequence[int]]], problems: list[str]
) -> tuple[dict[int, Mark | None], int]:
    """The mark of each row, None where marks disagree; and how often one repeats another."""
    first: dict[int, Mark] = {}
    settled: dict[int, Mark | None] = {}
    clashes: Counter[tuple[Mark, Mark]] = Counter()
    repeated = 0
    for mark, rows in claims:
        for row in rows:
            other = first.setdefault(row, mark)
            if other is mark:
                settled[row] = mark
            elif key(other.label) == key(mark.label):
                repeated += 1
            else:
                clashes[other, mark] += 1
                settled[row] = None
    for (one, other), times in clashes.items():
        of = "the same nucleus" if times == 1 else f"{times} nuclei"
        problems.append(
            f"{other.where}: {other.label!r} of {of} that {one.where} calls {one.label!r}."
        )
    return settled, repeated


def _in_regions(
    marks: Iterable[Mark], centroids: np.ndarray, problems: list[str]
) -> Iterator[tuple[Mark, list[int]]]:
    for mark in marks:
        if mark.kind != "region":
            continue
        if key(mark.label) == key(MISSING_NUCLEUS):
            problems.append(f"{mark.where}: nuclei that are missing are marked by points.")
            continue
        rows = _within(mark.rings, centroids)
        if not len(rows):
            problems.append(f"{mark.where}: there is no nucleus in this region.")
        yield mark, rows.tolist()


def _within(rings: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
    """Indices of the places that are within an odd number of rings."""
    corners = np.concatenate(rings)
    in_box = (places >= corners.min(axis=0)) & (places <= corners.max(axis=0))
    found = np.flatnonzero(in_box.all(axis=1))
    x, y = places[found].T
    is_odd = np.zeros(len(found), bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y0 != y1:
                is_left = x < x0 + (x1 - x0) * (y - y0) / (y1 - y0)
                is_odd ^= ((y0 > y) != (y1 > y)) & is_left
    return found[is_odd]


def _containing(places: np.ndarray, parquet: Path, cell: float) -> np.ndarray:
    """The nucleus whose outline contains each place, int64 [n]; -1 for none."""
    rows, grid, begin = np.full(len(places), -1), _Grid(places, cell), 0
    for table in read_batches(parquet, ["bbox", "geometry"]):
        nucleus, place = grid.pairs(boxes_of(table))
        if len(place):
            contains = _contain(*rings_of(table), nucleus, places[place])
            rows[place[contains]] = begin + nucleus[contains]
        begin += len(table)
    return rows


def _contain(
    offsets: np.ndarray, corners: np.ndarray, nucleus: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """Whether the outline of each nucleus contains the place beside it, bool [n]."""
    pair, edge = ranges(offsets[nucleus], offsets[nucleus + 1] - 1)  # rings are closed
    (x0, y0), (x1, y1), (x, y) = corners[edge].T, corners[edge + 1].T, places[pair].T
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):  # of level edges, which do not cross
        crosses &= x < x0 + (x1 - x0) * (y - y0) / (y1 - y0)
    times = np.bincount(pair, crosses, len(nucleus))
    contain: np.ndarray = times % 2 == 1
    return contain


def _nearest(
    places: np.ndarray, on: np.ndarray, centroids: np.ndarray, reach: np.ndarray
) -> np.ndarray:
    """The nearest nucleus within reach of each place that is on none, int64 [n]; -1 for none.

    Nuclei on which there is a place are taken; each other one goes to the place nearest to it.
    """
    rows = np.full(len(places), -1)
    free, farthest = np.flatnonzero(on < 0), reach.max(initial=1)
    nucleus, place = _Grid(places[free], 2 * farthest).pairs(
        np.hstack([centroids - farthest, centroids + farthest])
    )
    place = free[place]
    distance = np.hypot(*(centroids[nucleus] - places[place]).T)
    taken = set(on.tolist())
    for i in np.argsort(distance, kind="stable").tolist():
        if distance[i] <= reach[place[i]] and rows[place[i]] < 0 and nucleus[i] not in taken:
            rows[place[i]] = nucleus[i]
            taken.add(int(nucleus[i]))
    return rows


class _Grid:
    """Places, sorted by squares, to find those within boxes."""

    def __init__(self, places: np.ndarray, side: float) -> None:
        self._side = side
        self._places = places
        squares = np.floor(places / side).astype(np.int64)
        self._first = squares.min(axis=0, initial=0)
        squares -= self._first
        self._size = squares.max(axis=0, initial=0) + 1
        numbers = squares[:, 1] * self._size[0] + squares[:, 0]
        self._order = np.argsort(numbers, kind="stable")
        self._sorted = numbers[self._order]

    def pairs(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All pairs of a box, float64 [n, 4], and a place within it: indices of both, int64 [k]."""
        squares = np.floor(boxes / self._side).astype(np.int64)
        low, high = squares[:, :2] - self._first, squares[:, 2:] - self._first
        is_near = ((high >= 0) & (low < self._size)).all(axis=1)
        near = np.flatnonzero(is_near)
        low, high = np.maximum(low[near], 0), np.minimum(high[near], self._size - 1)
        found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for down in range((high - low)[:, 1].max(initial=-1) + 1):
            has = np.flatnonzero(low[:, 1] + down <= high[:, 1])
            row = (low[has, 1] + down) * self._size[0]
            begins = np.searchsorted(self._sorted, row + low[has, 0], "left")
            ends = np.searchsorted(self._sorted, row + high[has, 0], "right")
            pair, at = ranges(begins, ends)
            found.append((near[has[pair]], self._order[at]))
        box, place = (np.concatenate(each) for each in zip(*found, strict=True))
        at, sides = self._places[place], boxes[box]
        is_within = ((at >= sides[:, :2]) & (at <= sides[:, 2:])).all(axis=1)
        return box[is_within], place[is_within]
