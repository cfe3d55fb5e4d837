"""Nuclei as GeoJSON, the one for QuPath but unzipped."""

from __future__ import annotations

from pathlib import Path

from tsfd_client.nuclei.geojson import lines


def write(parquet: Path, path: Path) -> None:
    """Write a FeatureCollection of detections, a nucleus on a line; pixels of level 0."""
    with path.open("wb") as file:
        file.writelines(lines(parquet))
