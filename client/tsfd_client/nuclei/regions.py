"""Regions of an image: polygons with names, read from GeoJSON of the page or of QuPath.

Holes are no part of a region, and several polygons of a feature are one region. Coordinates are
pixels of level 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
from shapely import MultiPolygon, Polygon

from tsfd_client.errors import ImageError, OutputError
from tsfd_client.files import REGIONS
from tsfd_client.names import shown
from tsfd_client.pixels.annotations import (
    class_of,
    describe,
    features_of,
    is_detection,
    load,
    name_of,
    polygons_of,
    rings_of,
)

_NAMED: Final = 10  # features that a message names
_FARTHEST: Final = 1e9  # pixels
_BROKEN: Final = (ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True, eq=False)
class Region:
    """A region.

    Attributes
    ----------
    name
        Its name; empty if it has none.
    kind
        Its class, or None.
    outline
        As it was drawn; it may cross itself.
    """

    name: str
    kind: str | None
    outline: Polygon | MultiPolygon


@dataclass
class Regions:
    """What was read of one or more files.

    Attributes
    ----------
    regions
        In the order of the files.
    damaged
        For each feature that cannot be read, a sentence that names it.
    left_out
        For each kind of feature that is no region, a sentence that names them.
    """

    regions: list[Region] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, other: Regions) -> None:
        """Add those of another file."""
        self.regions += other.regions
        self.damaged += other.damaged
        self.left_out += other.left_out


def drawn_on_page(result: Path) -> list[Region]:
    """The regions beside a result, named.

    Raises
    ------
    OutputError
        If their file is damaged.
    """
    path = result / REGIONS
    if not path.is_file():
        return []
    try:
        found = regions_in(path, load(path))
    except ImageError as error:
        raise OutputError(f"{error} Repair or remove the file.") from error
    if found.damaged:
        raise OutputError(f"{found.damaged[0]} Repair or remove the file.")
    return named(found.regions)


def regions_in(path: Path, content: Any) -> Regions:
    """The regions in a GeoJSON file, not named yet.

    Parameters
    ----------
    path
        Of the file, for messages.
    content
        What `tsfd_client.pixels.annotations.load` has read of it.

    Raises
    ------
    ImageError
        If it is not GeoJSON.
    """
    found, others = Regions(), dict[str, list[int]]()
    try:
        for number, feature in enumerate(features_of(content), start=1):
            try:
                region = _region(feature)
                if region is None:
                    others.setdefault(_kind(feature), []).append(number)
                else:
                    found.regions.append(region)
            except _BROKEN:
                found.damaged.append(
                    f"{path}: {describe(feature, number)} is damaged: a region is a list of "
                    "rings, each of three or more points [x, y]."
                )
    except (*_BROKEN, RecursionError) as error:
        raise ImageError(f"{path} is not GeoJSON.") from error
    for kind, numbers in others.items():
        some = ", ".join(map(str, numbers[:_NAMED])) + (", ..." if numbers[_NAMED:] else "")
        found.left_out.append(
            f"{path}: left out, as only polygons are regions: {len(numbers):,} x {kind} "
            f"(feature {some})."
        )
    return found


def named(regions: Sequence[Region]) -> list[Region]:
    """Regions with names that are all different.

    Those without one are ``region 1``, ``region 2``, ... in their order; of several with the same
    name, the second is ``name (2)``.
    """
    given = {region.name for region in regions}
    free = (name for name in (f"region {number}" for number in count(1)) if name not in given)
    times = Counter[str]()
    found = []
    for region in regions:
        name = own = region.name or next(free)
        times[own] += 1
        while times[own] > 1 and (name := f"{own} ({times[own]})") in given:
            times[own] += 1
        found.append(replace(region, name=name))
    return found


def _region(feature: Any) -> Region | None:
    """The region that a feature is; None if it is none."""
    if is_detection(feature):
        return None
    parts = []
    for polygon in polygons_of(feature):
        outer, *holes = rings_of(polygon)
        if np.abs(outer).max() > _FARTHEST:
            raise ValueError("it lies beyond any image")
        parts.append(Polygon(outer, holes))
    if not parts:
        return None
    name, kind = name_of(feature), class_of(feature)
    outline = MultiPolygon(parts) if len(parts) > 1 else parts[0]
    return Region(shown((name or "").strip()), shown(kind) if kind else None, outline)


def _kind(feature: Any) -> str:
    """What a feature is that is no region."""
    if is_detection(feature):
        return "detection"
    geometry = feature.get("geometry") if feature["type"] == "Feature" else feature
    kind = str(geometry["type"]) if geometry else "feature without geometry"
    return f"empty {kind}" if "Polygon" in kind else kind
