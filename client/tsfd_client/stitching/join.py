"""Merge overlapping per-tile versions into nuclei.

Uncut versions are placed first, starting with the one farthest from its tile's edges. A version is
the same nucleus as a placed one if they share more than half of the smaller one's pixels, unless
the placed one is a mere fragment of it. A nucleus that no tile contains entirely is united from
those of its parts that agree where their tiles overlap. In the end every nucleus is one piece
without holes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from tsfd_client.contract import TILE
from tsfd_client.pixels.box import Box
from tsfd_client.stitching.outline import make_solid
from tsfd_client.stitching.runs import runs_of
from tsfd_client.stitching.versions import Version

_SAME = 0.5
_MOSTLY = 0.6


@dataclass(slots=True)  # not frozen: creating a frozen one takes several times as long
class Nucleus:
    """A nucleus of the image.

    Attributes
    ----------
    y, x
        Upper left corner of the mask in the image.
    mask
        bool [h, w]: one 4-connected piece without holes, in its smallest box.
    nucleus_class
        Class id, which begins with 1.
    class_prob
        0..1.
    """

    y: int
    x: int
    mask: np.ndarray
    nucleus_class: int
    class_prob: float

    @property
    def place(self) -> tuple[int, int, int]:
        """Sort key: the upper left corner of the box, then the first pixel of the top row."""
        return self.y, self.x, int(self.mask[0].argmax())


def components(found: Sequence[Version]) -> list[list[Version]]:
    """Group versions that share pixels, directly or through others."""
    leader = list(range(len(found)))

    def leader_of(i: int) -> int:
        while leader[i] != i:
            leader[i] = i = leader[leader[i]]
        return i

    for i, j in _sharing(found):
        leader[leader_of(i)] = leader_of(j)
    groups: dict[int, list[Version]] = {}
    for i, version in enumerate(found):
        groups.setdefault(leader_of(i), []).append(version)
    return list(groups.values())


def _sharing(found: Sequence[Version]) -> list[tuple[int, int]]:
    """Pairs of versions that share pixels, by index: enough to connect all that do."""
    runs = runs_of([version.mask for version in found])
    y, x = np.array([(version.y, version.x) for version in found], np.int64).reshape(-1, 2).T
    # All rows of the image one after the other, so that runs of different rows are apart.
    row = (y[runs.mask] + runs.row) * (int((x + runs.sizes[:, 1]).max(initial=0)) + 1)
    begin, end = row + x[runs.mask] + runs.begin, row + x[runs.mask] + runs.end
    order = begin.argsort(kind="stable")
    begin, end, version = begin[order], end[order], runs.mask[order]
    # A run that shares pixels with any before it does so with the one that reaches furthest.
    reach = np.maximum.accumulate(end)
    furthest = np.maximum.accumulate(np.where(end == reach, np.arange(len(end)), 0))
    shares = np.flatnonzero(begin[1:] < reach[:-1])
    pairs = np.unique(version[furthest[shares]] * len(found) + version[shares + 1])
    return [divmod(pair, len(found)) for pair in pairs.tolist()]


def settle(
    found: Sequence[Version], is_final: Callable[[Version], bool] = lambda version: True
) -> tuple[list[Nucleus], list[Version]]:
    """Merge the components in which every version is final.

    Returns
    -------
    nuclei
        Sorted by their places.
    left
        The versions of the other components.
    """
    nuclei: list[Nucleus] = []
    left: list[Version] = []
    for component in components(found):
        if all(map(is_final, component)):
            nuclei += join(component)
        else:
            left += component
    return sorted(nuclei, key=lambda nucleus: nucleus.place), left


def join(component: Sequence[Version]) -> list[Nucleus]:
    """Merge the versions of a component into nuclei."""
    if len(component) == 1:
        return [_as_it_is(component[0])]
    canvas = _Canvas(component)
    for version in sorted(component, key=lambda version: version.rank):
        canvas.add(version)
    return canvas.finish()


def _as_it_is(version: Version) -> Nucleus:
    return Nucleus(version.y, version.x, version.mask, version.nucleus_class, version.class_prob)


@dataclass(slots=True)
class _Placed:
    """A nucleus on the canvas: its first version, and the box and area of all its versions."""

    version: Version
    box: Box
    area: int
    whole: bool


class _Canvas:
    """Places the versions of a component in order of rank; a placed nucleus keeps its pixels."""

    def __init__(self, component: Sequence[Version]) -> None:
        self._y, self._x, bottom, right = reduce(Box.union, (v.box for v in component))
        self._instance_map = np.zeros((bottom - self._y, right - self._x), np.int32)
        self._placed: dict[int, _Placed] = {}
        self._next = 1

    def add(self, version: Version) -> None:
        box = version.box.moved(-self._y, -self._x)
        under = box.crop(self._instance_map)
        free, *others = np.bincount(under[version.mask]).tolist()  # pixels by nucleus
        shared = {n: pixels for n, pixels in enumerate(others, start=1) if pixels}
        parts = [n for n in shared if self._is_part(version, n, shared[n])]
        if parts:
            number = self._unite(parts, box, free)
        elif self._is_known(shared, free):
            return
        else:
            number = self._next
            self._next += 1
            self._placed[number] = _Placed(version, box, free, whole=not shared)
        under[version.mask & (under == 0)] = number

    def finish(self) -> list[Nucleus]:
        """Make the nuclei solid and extract them."""
        if all(nucleus.whole for nucleus in self._placed.values()):
            return [_as_it_is(nucleus.version) for nucleus in self._placed.values()]
        boxes = make_solid(self._instance_map, {n: p.box for n, p in self._placed.items()})
        nuclei = []
        for number, box in boxes.items():
            version = self._placed[number].version
            mask = box.crop(self._instance_map) == number
            y, x = self._y + box.top, self._x + box.left
            nuclei.append(Nucleus(y, x, mask, version.nucleus_class, version.class_prob))
        return nuclei

    def _is_part(self, version: Version, number: int, shared: int) -> bool:
        """Whether both are cut parts of one nucleus, judged by their overlap in the tile."""
        nucleus = self._placed[number]
        if not (version.cut and nucleus.version.cut):
            return False
        tile_y, tile_x = version.tile
        tile = Box(0, 0, TILE, TILE).moved(tile_y - self._y, tile_x - self._x)
        in_tile = nucleus.box.intersection(tile)
        seen = int(np.count_nonzero(in_tile.crop(self._instance_map) == number))
        return shared > _SAME * seen

    def _unite(self, parts: list[int], box: Box, free: int) -> int:
        """Unite nuclei with a version that adds `free` pixels; return the id they keep."""
        keeper, *others = parts
        nucleus = self._placed[keeper]
        for number in others:
            other = self._placed.pop(number)
            pixels = other.box.crop(self._instance_map)
            pixels[pixels == number] = keeper
            nucleus.area += other.area
            nucleus.box = nucleus.box.union(other.box)
        nucleus.area += free
        nucleus.box = nucleus.box.union(box)
        nucleus.whole = False
        return keeper

    def _is_known(self, shared: dict[int, int], free: int) -> bool:
        """Whether a version is a nucleus already placed, or lies mostly within several."""
        if not shared:
            return False
        most = max(shared, key=lambda number: shared[number])
        area = free + sum(shared.values())
        # If most of the version is free, the placed nucleus is only a fragment of it.
        same = shared[most] > _SAME * min(area, self._placed[most].area) and free < _MOSTLY * area
        return same or free <= _SAME * area
