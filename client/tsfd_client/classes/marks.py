"""Marks: what people say of nuclei.

They come from three places: ``annotations.geojson``, which the page of `tsfd view` keeps beside a
result; GeoJSON of QuPath; and tables with the columns ``slide``, ``x``, ``y`` and ``label``.
Coordinates are pixels of level 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from tsfd_client.classes.assignment import UnknownSlideError, find_slide, slide_of
from tsfd_client.classes.labels import Colour, check_label
from tsfd_client.errors import ImageError, TsfdError
from tsfd_client.pixels.annotations import (
    class_of,
    features_of,
    is_detection,
    load,
    points_of,
    polygons_of,
    rings_of,
)
from tsfd_client.spreadsheet import number as number_of
from tsfd_client.spreadsheet import read_lines

_BROKEN: Final = (ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True, eq=False)
class Mark:
    """A mark.

    Attributes
    ----------
    slide
        Name of the result.
    label
        A class, or one of `tsfd_client.classes.labels.RESERVED`.
    kind
        ``"point"``; ``"region"``, whose nuclei all are of the class; or ``"detection"``, the
        outline of one nucleus with the class that it has now, whether a person gave it or not.
    x, y
        A point, or for a detection a point within its outline; of a region, None.
    rings
        Of a region: float64 [n, 2] each; a place is inside if it is within an odd number of them.
    colour
        Of the class, if the file says.
    source, number
        The file, and the line or the feature in it.
    """

    slide: str
    label: str
    kind: Literal["point", "region", "detection"]
    source: Path
    number: int
    x: float = math.nan
    y: float = math.nan
    rings: tuple[np.ndarray, ...] = ()
    colour: Colour | None = None

    @property
    def where(self) -> str:
        """The file and the place in it, as messages name them."""
        return _where(self.source, self.number)


@dataclass
class Marks:
    """What was read of one or more files.

    Attributes
    ----------
    marks
        In the order of the files.
    problems
        For each line or feature that is no mark, a sentence that names it.
    strangers
        The slides of lines that name none of the results.
    """

    marks: list[Mark] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def __iadd__(self, other: Marks) -> Marks:
        self.marks += other.marks
        self.problems += other.problems
        self.strangers += other.strangers
        return self


def read_marks(path: Path, slides: Mapping[str, str | None]) -> Marks:
    """Read the marks of a file: a table if it ends in ``.csv``, ``.tsv`` or ``.txt``, else GeoJSON.

    Parameters
    ----------
    slides
        The results that may be marked: the file name of the image by the result's name. A table
        says which one each row is of, by either of the two. GeoJSON is of the one that its
        ``slide`` says, that its own name or folder has, or the only one. None instead of a file
        name: the image is another result's, too, which it stands for.

    Raises
    ------
    TsfdError
        If the file cannot be read at all, or it cannot be said which result it is of.
    """
    if path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return _read_table(path, slides)
    return _read_geojson(path, slides)


def _read_table(path: Path, slides: Mapping[str, str | None]) -> Marks:
    read = Marks()
    for line, cells in read_lines(path, ("slide", "x", "y", "label")):
        try:
            slide = find_slide(cells["slide"], slides)
            x, y = (_pixels(name, cells[name]) for name in ("x", "y"))
            label = cells["label"]
            check_label(label)
        except UnknownSlideError as error:
            read.problems.append(f"{_where(path, line)}: {error}")
            read.strangers.append(cells["slide"])
        except TsfdError as error:
            read.problems.append(f"{_where(path, line)}: {error}")
        else:
            read.marks.append(Mark(slide, label, "point", path, line, x, y))
    return read


def _pixels(name: str, text: str) -> float:
    try:
        value = number_of(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TsfdError(f"{name} is {text!r}, not a number.")
    return value


def _read_geojson(path: Path, slides: Mapping[str, str | None]) -> Marks:
    read, unclassified = Marks(), 0
    try:
        content = load(path)
        slide = slide_of(path, content, slides)
        for number, feature in enumerate(features_of(content), start=1):
            try:
                label = class_of(feature)
                if not label and is_detection(feature):
                    unclassified += 1
                    continue
                read.marks += _marks_of(feature, label, slide, path, number)
            except TsfdError as error:
                read.problems.append(f"{_where(path, number)}: {error}")
            except _BROKEN:
                read.problems.append(f"{_where(path, number)}: it is no feature of GeoJSON.")
    except (*_BROKEN, RecursionError) as error:
        raise ImageError(f"{path} is not GeoJSON.") from error
    if unclassified:
        read.problems.append(f"{path}: {unclassified} detections have no class.")
    return read


def _marks_of(
    feature: Any, label: str | None, slide: str, path: Path, number: int
) -> Iterator[Mark]:
    """Marks of one feature; TsfdError if it is none."""
    if not label:
        raise TsfdError("it has no class.")
    check_label(label)
    try:
        colour = _colour_of(feature)
        points = list(points_of(feature))
        polygons = [rings_of(polygon) for polygon in polygons_of(_nucleus_of(feature))]
    except _BROKEN as error:
        raise TsfdError("its coordinates are damaged.") from error
    if not points and not polygons:
        raise TsfdError("it is neither a point nor a polygon.")
    is_outlined = is_detection(feature)
    if is_outlined:
        points += [_within(polygon[0]) for polygon in polygons]
    for x, y in points:
        kind: Literal["point", "detection"] = "detection" if is_outlined else "point"
        yield Mark(slide, label, kind, path, number, float(x), float(y), colour=colour)
    if polygons and not is_outlined:
        rings = tuple(ring for polygon in polygons for ring in polygon)
        yield Mark(slide, label, "region", path, number, rings=rings, colour=colour)


def _nucleus_of(feature: Any) -> Any:
    """Of a QuPath cell, the nucleus rather than the cell's own outline."""
    return feature.get("nucleusGeometry") or feature


def _colour_of(feature: Any) -> Colour | None:
    said = (feature.get("properties") or {}).get("classification")
    colour = said.get("color") if isinstance(said, dict) else None
    if not (isinstance(colour, list) and len(colour) == 3):
        return None
    red, green, blue = (int(value) & 255 for value in colour)
    return red, green, blue


def _within(ring: np.ndarray) -> np.ndarray:
    """A point within an outline, float64 [2]: the middle of its widest part, halfway down."""
    y = (ring[:, 1].min() + ring[:, 1].max()) / 2
    (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, axis=0).T
    crosses = (y0 > y) != (y1 > y)
    at = x0[crosses] + (x1 - x0)[crosses] * (y - y0[crosses]) / (y1 - y0)[crosses]
    spans = np.sort(at).reshape(-1, 2)
    if not len(spans):  # without any height
        return np.array(ring[0])
    return np.array([spans[np.diff(spans).argmax()].mean(), y])


def _where(path: Path, number: int) -> str:
    is_table = path.suffix.lower() in (".csv", ".tsv", ".txt")
    return f"{path}, {'line' if is_table else 'feature'} {number}"
