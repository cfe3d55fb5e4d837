"""The nuclei of a picture in the table of slides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from tsfd_client.nuclei import wkb
from tsfd_client.nuclei.table import SCHEMA, Info, Writer, reading
from tsfd_client.pixels.origin import Origin
from tsfd_client.release import Release


def write_table(folder: Path, path: Path) -> None:
    """Write what a picture's ``nuclei.geojson`` holds as a ``nuclei.parquet``.

    Raises
    ------
    OutputError
        If the picture's files are damaged.
    OSError
        If it cannot be written.
    """
    origin = Origin.read(folder)
    with reading(folder):
        content = json.loads((folder / "nuclei.geojson").read_text())
        release = Release.from_dict(content["served"])
        mpp = origin.mpp if origin else release.mpp
        labels = next(folder.glob("labels.*"))
        with Image.open(labels) as image:
            width, height = image.size
        # Outlines run along the edges of the image's own pixels.
        info = Info(folder.name, width, height, mpp, 1.0, release)
        nuclei = _table(content["features"])
    with Writer(path, info) as writer:
        writer.write(nuclei)


def _table(features: list[dict[str, Any]]) -> pa.Table:
    if not features:
        return SCHEMA.empty_table()
    rings = [np.array(feature["geometry"]["coordinates"][0]) for feature in features]
    measured = [feature["properties"]["measurements"] for feature in features]
    names = [feature["properties"]["classification"]["name"].lower() for feature in features]
    boxes = np.array([[*ring.min(axis=0), *ring.max(axis=0)] for ring in rings])
    box = list(SCHEMA.field("bbox").type)
    columns = {
        "class": names,
        "class_prob": np.array([m["Class probability"] for m in measured], np.float32),
        "area_um2": np.array([m["Area µm^2"] for m in measured], np.float32),
        "centroid_x": [m["Centroid X px"] for m in measured],
        "centroid_y": [m["Centroid Y px"] for m in measured],
        "bbox": pa.StructArray.from_arrays([pa.array(side) for side in boxes.T.copy()], fields=box),
        "geometry": wkb.encode(
            np.cumsum([0, *(len(ring) for ring in rings)]), np.concatenate(rings)
        ),
    }
    return pa.table(columns, schema=SCHEMA.remove(0))
