"""Nuclei as comma-separated values, without their outlines."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from tsfd_client.files import replacing
from tsfd_client.nuclei import measures
from tsfd_client.nuclei.table import SCHEMA, boxes_of, read_info

_COLUMNS = ("id", "class", "class_prob", "centroid_x", "centroid_y")
_STRUCTURE = {*',"\r\n'}
_SIDES = ("x_min", "y_min", "x_max", "y_max")


def write(parquet: Path, path: Path) -> None:
    """Write one row per nucleus, with what was measured of it; coordinates are pixels of level 0.

    Names of classes are in quotes if one of them has a comma, a quote or a line break.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    names = read_info(parquet).release.class_names
    style = "needed" if any({*name} & _STRUCTURE for name in names) else "none"
    options = csv.WriteOptions(include_header=False, quoting_style=style)
    columns = [name for name in SCHEMA.names if name != "geometry"]
    more = measures.columns_beside(parquet)
    header = [*_COLUMNS, *_SIDES, "area_um2", *more]
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(",".join(map(_cell, header)).encode() + b"\n")
        for table in measures.read_batches_with(parquet, columns):
            sides = dict(zip(_SIDES, boxes_of(table).T.copy(), strict=True))
            values = {name: table[name] for name in _COLUMNS} | sides
            values |= {name: table[name] for name in ("area_um2", *more)}
            csv.write_csv(pa.table(values), file, options)


def _cell(name: str) -> str:
    quoted = name.replace('"', '""')
    return f'"{quoted}"' if {*name} & _STRUCTURE else name
