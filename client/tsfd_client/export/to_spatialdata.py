"""Nuclei as SpatialData: outlines in ``shapes/nuclei``, measurements in ``table``.

Regions of the page are in ``shapes/regions``, by name, with their class.

The files are written directly (container 0.2, shapes 0.3, table 0.2), because the spatialdata
library would hold all outlines in memory and depends on clients of object stores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
import zarr

from tsfd_client.export.annotated import annotated, name_rows, names
from tsfd_client.nuclei.regions import Region, drawn_on_page
from tsfd_client.nuclei.table import SCHEMA, count, read_batches

_SHAPES = "nuclei"
_REGIONS = "regions"
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
        _write_nuclei(parquet, shapes.create_group(_SHAPES), path)
    if regions := drawn_on_page(parquet.parent):
        _write_regions(regions, shapes.create_group(_REGIONS), path)


def _write_nuclei(parquet: Path, group: zarr.Group, path: Path) -> None:
    columns = ["id", "geometry"]
    schema = SCHEMA.empty_table().select(columns).schema
    geo = json.loads(pq.read_metadata(parquet).metadata[b"geo"])
    del geo["columns"]["geometry"]["covering"]  # it names a column that is left out
    _write_shapes(group, path, read_batches(parquet, columns), schema, geo)


def _write_regions(regions: Sequence[Region], group: zarr.Group, path: Path) -> None:
    outlines = [region.outline for region in regions]
    table = pa.table(
        {
            "name": [region.name for region in regions],
            "class": pa.array([region.kind for region in regions], pa.string()),
            "geometry": pa.array(shapely.to_wkb(outlines), pa.binary()),
        }
    )
    geometry = {
        "encoding": "WKB",
        "geometry_types": sorted({outline.geom_type for outline in outlines}),
        "crs": None,
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    _write_shapes(group, path, [table], table.schema, geo)


def _write_shapes(
    group: zarr.Group,
    path: Path,
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    geo: dict[str, Any],
) -> None:
    """Write shapes, of which the first column is the index, to the zarr folder `path`.

    Parameters
    ----------
    geo
        GeoParquet's metadata.
    """
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
    schema = schema.with_metadata({"geo": json.dumps(geo), "pandas": _index(schema)})
    with pq.ParquetWriter(path / group.path / "shapes.parquet", schema, compression="zstd") as file:
        for table in tables:
            file.write_table(table.cast(schema), row_group_size=len(table))


def _space(name: str) -> dict[str, Any]:
    axes = [{"name": axis, "type": "space", "unit": "unit"} for axis in "xy"]
    return {"name": name, "axes": axes}


def _index(schema: pa.Schema) -> str:
    """The metadata that makes the first column the index when pandas reads the file."""
    kinds = {
        pa.int64(): ("int64", "int64"),
        pa.string(): ("unicode", "object"),
        pa.binary(): ("bytes", "object"),
    }
    columns = [
        {
            "name": field.name,
            "field_name": field.name,
            "pandas_type": kinds[field.type][0],
            "numpy_type": kinds[field.type][1],
            "metadata": None,
        }
        for field in schema
    ]
    return json.dumps(
        {
            "index_columns": schema.names[:1],
            "column_indexes": [],
            "columns": columns,
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
