"""Marks made on the page: ``annotations.geojson`` beside a result, changed a mark at a time.

Several pages change the file at once, also of several `tsfd view`: each change is applied to what
the file holds at that moment.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tsfd_client.errors import ImageError, OutputError
from tsfd_client.files import MARKS, replacing
from tsfd_client.pixels.annotations import class_of, features_of, load, points_of, polygons_of
from tsfd_client.view.alone import alone

MOST: Final = 4_000_000
"""Bytes of the largest change that is accepted."""
_WRONG: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def version(folder: Path) -> str:
    """Tell one content of the file from another without reading it, as an entity tag of HTTP."""
    try:
        known = (folder / MARKS).stat()
    except OSError:
        return '"none"'
    return f'"{known.st_mtime_ns:x}-{known.st_size:x}-{known.st_ino:x}"'


def read(folder: Path, slide: str) -> bytes:
    """Read the marks of a result, a FeatureCollection in which every feature has an id.

    Parameters
    ----------
    slide
        File name of the image, which the collection says.

    Raises
    ------
    OutputError
        If they cannot be read or are damaged.
    """
    return _content(_features(folder / MARKS), slide)


def change(folder: Path, slide: str, content: bytes) -> None:
    """Remove some marks and add others.

    Parameters
    ----------
    content
        ``{"add": [features], "remove": [ids]}``. A feature that is added replaces the one with its
        id, and a point those at its place, where another page may have marked the same nucleus;
        ids that are unknown are ignored, since another page may have removed them.

    Raises
    ------
    OutputError
        If the change is no such change, or the file is damaged or cannot be written.
    """
    if len(content) > MOST:
        raise OutputError(f"The marks are larger than {MOST // 1_000_000} MB.")
    try:
        asked = json.loads(content)
        added = {_checked(feature)["id"]: feature for feature in asked["add"]}
        removed = {str(number) for number in asked["remove"]}
    except _WRONG as error:
        raise OutputError("These are no marks: points and polygons with a class each.") from error
    path = folder / MARKS
    with alone(path):
        gone = removed | added.keys()
        points = [each["geometry"] for each in added.values() if [*points_of(each)]]
        kept = [
            each
            for each in _features(path)
            if each["id"] not in gone and each.get("geometry") not in points
        ]
        try:
            with replacing(path) as partial:
                partial.write_bytes(_content([*kept, *added.values()], slide))
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


def _features(path: Path) -> list[Any]:
    """What the file holds, which another program may have written."""
    if not path.exists():
        return []
    try:
        return [each for feature in features_of(load(path)) for each in _single(feature)]
    except ImageError as error:
        raise OutputError(f"{error} Repair or remove the file, then reload.") from error
    except _WRONG as error:
        raise OutputError(
            f"{path} is not GeoJSON. Repair or remove the file, then reload."
        ) from error


def _single(feature: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The feature, or one for each of its points, with an id: its own, or one from its content."""
    content = json.dumps(feature)
    if (feature.get("geometry") or {}).get("type") == "MultiPoint":
        for number, place in enumerate(feature["geometry"]["coordinates"]):
            point = {"type": "Point", "coordinates": place}
            yield feature | {"id": _named(f"{number} of {content}"), "geometry": point}
    else:
        yield feature | {"id": str(feature.get("id") or _named(content))}


def _named(content: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, content))


def _checked(feature: Any) -> Any:
    if not (feature["type"] == "Feature" and isinstance(feature["id"], str) and class_of(feature)):
        raise ValueError("a mark is a feature with an id and a class")
    if len([*points_of(feature), *polygons_of(feature)]) != 1:
        raise ValueError("a mark is a point or a polygon")
    return feature


def _content(features: list[Any], slide: str) -> bytes:
    """A FeatureCollection as QuPath reads it, a feature per line."""
    lines = ",\n".join(json.dumps(feature, ensure_ascii=False) for feature in features)
    head = f'{{"type": "FeatureCollection", "slide": {json.dumps(slide)}, "features": [\n'
    return (head + lines + "\n]}\n").encode()
