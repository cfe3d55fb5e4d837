"""Nuclei as SpatialData: outlines in ``shapes/nuclei``, measurements in ``table``.

The files are written directly (container 0.2, shapes 0.3, table 0.2), because the spatialdata
library would hold all outlines in memory and depends on clients of object stores.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import zarr

from tsfd_client.export.annotated import annotated, name_rows, names
from tsfd_client.nuclei.table import SCHEMA, count, read_batches

_SHAPES = "nuclei"
_KEYS = {"region": _SHAPES, "region_key": "region", "instance_key": "id"}


def write(parquet: Path, path: Path) -> None:
    """Write the folder; coordinates are pixels of level 0.

    SpatialData does not allow empty shapes: a slide without nuclei has only an empty table.
    """
    root = zarr.open_group(path, mode="w-", zarr_format=3)
    root.attrs["spatialdata_attrs"] = {"version": "0.2"}
    shapes, tables = root.create_group("shapes"), root.create_group("tables")
    has_shapes = count(parquet) > 0
    _write_table(parquet, tables, has_shapes)
    if has_shapes:
        _write_shapes(parquet, shapes.create_group(_SHAPES), path)


def _write_shapes(parquet: Path, group: zarr.Group, path: Path) -> None:
    group.attrs.update(
        {
            "encoding-type": "ngff:shapes",
            "axes": ["x", "y"],
            "coordinateTransformations": [
                {"type": "identity", "input": _space("xy"), "output": _space("global")}
            ],
            "spatialdata_attrs": {"version": "0.3"},
        }
    )
    names = ["id", "geometry"]
    schema = SCHEMA.empty_table().select(names).schema
    schema = schema.with_metadata({"geo": _geo(parquet), "pandas": _INDEX})
    with pq.ParquetWriter(path / group.path / "shapes.parquet", schema, compression="zstd") as file:
        for batch in read_batches(parquet, names):
            file.write_table(batch.cast(schema), row_group_size=len(batch))


def _space(name: str) -> dict[str, Any]:
    axes = [{"name": axis, "type": "space", "unit": "unit"} for axis in "xy"]
    return {"name": name, "axes": axes}


def _geo(parquet: Path) -> str:
    """GeoParquet metadata without references to columns that are left out."""
    geo = json.loads(pq.read_metadata(parquet).metadata[b"geo"])
    del geo["columns"]["geometry"]["covering"]
    return json.dumps(geo)


def _column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }


# Makes the ids the index of the shapes, to which the table refers.
_INDEX = json.dumps(
    {
        "index_columns": ["id"],
        "column_indexes": [],
        "columns": [_column("geometry", "bytes", "object"), _column("id", "int64", "int64")],
        "pandas_version": "2.0.0",
    }
)


def _write_table(parquet: Path, group: zarr.Group, has_shapes: bool) -> None:
    keys = _KEYS if has_shapes else dict.fromkeys(_KEYS)
    table = annotated(parquet)
    if has_shapes:
        codes = np.zeros(len(table), np.int8)
        table.obs["region"] = pd.Categorical.from_codes(codes, names([_SHAPES]))
        table.uns["spatialdata_attrs"] = keys
    anndata.io.write_elem(group, "table", table)
    attributes = {"spatialdata-encoding-type": "ngff:regions_table", "version": "0.2", **keys}
    group["table"].attrs.update(attributes)
    name_rows(group["table/obs"], table.obs["id"].to_numpy())
