"""GeoJSON of outlines, as QuPath writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def square(low: float, high: float) -> list[list[float]]:
    """A closed ring on the diagonal of the image."""
    return [[low, low], [high, low], [high, high], [low, high], [low, low]]


def feature(kind: str, coordinates: Any, **said: Any) -> dict[str, Any]:
    """An annotation with a geometry of a kind; `said` are its properties."""
    geometry = {"type": kind, "coordinates": coordinates}
    properties = {"objectType": "annotation", **said}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def saved(path: Path, *features: dict[str, Any]) -> Path:
    """Write a collection."""
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path
