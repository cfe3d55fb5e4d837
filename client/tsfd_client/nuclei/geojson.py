"""Nuclei as GeoJSON for QuPath, a row group of the table at a time."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tsfd_client.files import replacing
from tsfd_client.nuclei.table import read_batches, read_info, rings_of
from tsfd_client.release import Release

Colours = dict[str, tuple[int, int, int]]
"""RGB by class name."""


def write(parquet: Path, path: Path) -> None:
    """Write the detections of `lines`, zipped if `path` ends in ``.gz``.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        if path.suffix != ".gz":
            file.writelines(lines(parquet))
            return
        # The same nuclei give the same bytes: neither a time nor a name.
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
            stream.writelines(lines(parquet))


def lines(parquet: Path) -> Iterator[bytes]:
    """Parts of a FeatureCollection that QuPath imports as detections, a nucleus on a line."""
    return lines_of(read_batches(parquet), read_info(parquet).release)


def lines_of(tables: Iterable[pa.Table], release: Release) -> Iterator[bytes]:
    """The same of tables of `tsfd_client.nuclei.table.SCHEMA`."""
    told = {"type": "FeatureCollection", "release": release.name, "served": release.to_dict()}
    head = json.dumps(told, ensure_ascii=False, separators=(",", ":"))[:-1] + ',"features":['
    yield head.encode()
    surplus = 1  # every feature begins with a comma, which the first must not
    for table in tables:
        if len(table):
            yield _features(table, release.colours)[surplus:]
            surplus = 0
    yield b"\n]}\n"


def _features(table: pa.Table, colours: Colours) -> bytes:
    """``,\\n{feature}`` of every nucleus, one after the other."""
    offsets, points = rings_of(table)
    corners = pc.binary_join_element_wise(_number(points[:, 0], 2), _number(points[:, 1], 2), ",")
    rings = pc.binary_join(pa.ListArray.from_arrays(offsets.astype(np.int32), corners), "],[")
    features = pc.binary_join_element_wise(
        ',\n{"type":"Feature","id":"nucleus-',
        pc.cast(table["id"], pa.string()),
        '","geometry":{"type":"Polygon","coordinates":[[[',
        rings,
        ']]]},"properties":{"objectType":"detection","classification":',
        _classification(table["class"], colours),
        ',"measurements":{"Area µm^2":',
        _number(table["area_um2"], 3),
        ',"Class probability":',
        _number(table["class_prob"], 4),
        ',"Centroid X px":',
        _number(table["centroid_x"], 2),
        ',"Centroid Y px":',
        _number(table["centroid_y"], 2),
        "}}}",
        "",
    )
    return bytes(pa.concat_arrays(features.chunks).buffers()[2])


def _number(values: np.ndarray | pa.ChunkedArray, digits: int) -> pa.Array:
    return pc.cast(pc.round(pc.cast(values, pa.float64()), digits), pa.string())


def _classification(names: pa.ChunkedArray, colours: Colours) -> pa.Array:
    texts = [
        json.dumps({"name": name.capitalize(), "color": list(colour)}, separators=(",", ":"))
        for name, colour in colours.items()
    ]
    return pa.array(texts).take(pc.index_in(names, pa.array(list(colours))))
