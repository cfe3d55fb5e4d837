"""Polygons of a GeoJSON file with their classes, such as QuPath exports its annotations."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from tsfd_client.errors import ImageError

_GZIP: Final = b"\x1f\x8b"
_FEWEST: Final = 3  # corners of a ring
_DETECTIONS: Final = ("detection", "cell")  # what QuPath calls objects of one nucleus


@dataclass(frozen=True)
class Annotation:
    """A polygon.

    Attributes
    ----------
    rings
        float64 [n, 2] each, x and y of its corners: the outer ring, then the holes.
    kind
        Its class, or None.
    """

    rings: list[np.ndarray]
    kind: str | None


def read_annotations(path: Path) -> list[Annotation]:
    """Read all polygons of a file, gzipped or not; points and lines are left out.

    Raises
    ------
    ImageError
        If the file is missing or not GeoJSON, or a polygon is damaged: the message names it.
    """
    found = []
    try:
        for number, feature in enumerate(features_of(load(path)), start=1):
            kind = class_of(feature)
            try:
                found += [Annotation(rings_of(each), kind) for each in polygons_of(feature)]
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ImageError(
                    f"{path}: {describe(feature, number)} is damaged: a polygon is a list of "
                    "rings, each of three or more points [x, y]."
                ) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ImageError(f"{path} is not GeoJSON.") from error
    return found


def load(path: Path) -> Any:
    """Read a JSON file, gzipped or not.

    Raises
    ------
    ImageError
        If the file is missing, cannot be read, or is not JSON.
    """
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise ImageError(f"There is no file {path}.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ImageError(f"{path} is a damaged gzip file: copy or export it again.") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return json.loads(content)
    except UnicodeDecodeError as error:
        raise ImageError(f"{path} is not UTF-8: save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{path} is not GeoJSON.") from error


def features_of(node: Any) -> Iterator[Any]:
    """Features of a GeoJSON object or of a list of them; a geometry may stand for a feature."""
    if isinstance(node, list):
        for each in node:
            # What is no object has its number all the same, for whoever reads it to say so.
            if isinstance(each, list) or (isinstance(each, dict) and "type" in each):
                yield from features_of(each)
            else:
                yield each
    elif node["type"] == "FeatureCollection":
        yield from features_of(node["features"])
    else:
        yield node


def points_of(node: Any) -> Iterator[np.ndarray]:
    """Points of a feature or a geometry, float64 [2] each."""
    kind = node["type"]
    if kind == "Feature":
        if node.get("geometry"):
            yield from points_of(node["geometry"])
    elif kind == "GeometryCollection":
        for each in node["geometries"]:
            yield from points_of(each)
    elif kind in ("Point", "MultiPoint"):
        for x, y, *_ in [node["coordinates"]] if kind == "Point" else node["coordinates"]:
            point = np.array([x, y], np.float64)
            if not np.isfinite(point).all():
                raise ValueError("a point is not finite")
            yield point


def polygons_of(node: Any) -> Iterator[Any]:
    """Polygons of a feature or a geometry, each a list of rings; empty ones are left out."""
    kind = node["type"]
    if kind == "Feature":
        if node.get("geometry"):
            yield from polygons_of(node["geometry"])
    elif kind == "GeometryCollection":
        for each in node["geometries"]:
            yield from polygons_of(each)
    elif kind in ("Polygon", "MultiPolygon"):
        polygons = [node["coordinates"]] if kind == "Polygon" else node["coordinates"]
        yield from filter(None, polygons)


def rings_of(polygon: Any) -> list[np.ndarray]:
    """The open rings of a polygon, float64 [n, 2] each; ValueError or TypeError if damaged."""
    return [_ring(points) for points in polygon]


def _ring(points: Any) -> np.ndarray:
    """The corners of a ring, whose last point should repeat the first but often does not."""
    ring = np.array([point[:2] for point in points], np.float64)
    if ring.ndim != 2 or ring.shape[1] != 2 or not np.isfinite(ring).all():
        raise ValueError("a ring is not a list of points")
    if np.array_equal(ring[0], ring[-1]):
        ring = ring[:-1]
    if len(ring) < _FEWEST:
        raise ValueError("a ring has too few points")
    return ring


def class_of(feature: Any) -> str | None:
    """The class of a feature; for a derived class, QuPath lists the names it is made of."""
    said = (feature.get("properties") or {}).get("classification")
    if isinstance(said, dict):
        said = said.get("name") or said.get("names")
    if isinstance(said, list):
        said = ": ".join(map(str, said))
    return str(said) if said else None


def name_of(feature: Any) -> str | None:
    """The name of a feature."""
    said = (feature.get("properties") or {}).get("name")
    return str(said) if said else None


def is_detection(feature: Any) -> bool:
    """Whether a feature is one of QuPath's objects whose polygon is one nucleus."""
    return (feature.get("properties") or {}).get("objectType") in _DETECTIONS


def describe(feature: Any, number: int) -> str:
    """A feature as messages name it: its place in the file, and what else is known of it."""
    try:
        name, kind = name_of(feature), class_of(feature)
    except AttributeError:  # it is no object
        name = kind = None
    known = [repr(name)] if name else []
    known += [f"class {kind}"] if kind else []
    return f"feature {number}" + (f" ({', '.join(known)})" if known else "")
