"""Nuclei as GeoJSON for QuPath, written one row group of the table at a time."""

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
    """Write the output of `lines`, gzipped if `path` ends in ``.gz``.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        if path.suffix != ".gz":
            file.writelines(lines(parquet))
            return
        # No time or file name in the header: the same nuclei give the same bytes.
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
            stream.writelines(lines(parquet))


def lines(parquet: Path) -> Iterator[bytes]:
    """Yield parts of a FeatureCollection for QuPath: detections, with one nucleus per line."""
    return lines_of(read_batches(parquet), read_info(parquet).release)


def lines_of(tables: Iterable[pa.Table], release: Release) -> Iterator[bytes]:
    """As `lines`, from tables of `tsfd_client.nuclei.table.SCHEMA`."""
    fields = {"type": "FeatureCollection", "release": release.name, "served": release.to_dict()}
    head = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))[:-1] + ',"features":['
    yield head.encode()
    surplus = 1  # every feature begins with a comma; drop that of the first
    for table in tables:
        if len(table):
            yield _features(table, release)[surplus:]
            surplus = 0
    yield b"\n]}\n"


def _features(table: pa.Table, release: Release) -> bytes:
    """``,\\n{feature}`` for every nucleus, concatenated."""
    offsets, points = rings_of(table)
    corners = pc.binary_join_element_wise(*(_coordinates(axis) for axis in points.T), ",")
    rings = pc.binary_join(pa.ListArray.from_arrays(offsets.astype(np.int32), corners), "],[")
    features = pc.binary_join_element_wise(
        ',\n{"type":"Feature","id":"nucleus-',
        pc.cast(table["id"], pa.string()),
        '","geometry":{"type":"Polygon","coordinates":[[[',
        rings,
        ']]]},"properties":{"objectType":"detection","classification":',
        _classification(table["class"], release),
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


def _coordinates(values: np.ndarray) -> pa.Array:
    whole = values.astype(np.int64)
    # At the network's own scale all are whole: the same text in a third of the time.
    return pc.cast(whole, pa.string()) if (whole == values).all() else _number(values, 2)


def _number(values: np.ndarray | pa.ChunkedArray, digits: int) -> pa.Array:
    return pc.cast(pc.round(pc.cast(values, pa.float64()), digits), pa.string())


def _classification(names: pa.ChunkedArray, release: Release) -> pa.Array:
    """The network's classes as QuPath spells its own; others as whoever named them does."""
    network, texts = release.network_classes or release.class_names, []
    for name, colour in release.colours.items():
        spelt = name.capitalize() if name in network else name
        texts.append(json.dumps({"name": spelt, "color": list(colour)}, separators=(",", ":")))
    return pa.array(texts).take(pc.index_in(names, pa.array(list(release.colours))))
