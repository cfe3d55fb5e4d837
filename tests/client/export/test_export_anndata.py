"""AnnData of the nuclei, as a file and as the table of SpatialData."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import geopandas
import numpy as np
import zarr

from tests.client.export.run_folder import NUCLEI
from training.target import CLASSES
from tsfd_client.export import export


def check(table: anndata.AnnData, folder: Path) -> None:
    frame = geopandas.read_parquet(folder / "nuclei.parquet")
    assert table.shape == (len(frame), 2)
    assert table.var_names.tolist() == ["area_um2", "class_prob"]
    assert table.obs_names.tolist() == [str(number) for number in frame.id]
    assert table.X.dtype == np.float32
    assert np.array_equal(table.X, frame[["area_um2", "class_prob"]])
    assert table.obs["class"].cat.categories.tolist() == list(CLASSES[1:])
    for name in ("id", "class", "class_prob", "area_um2"):
        assert table.obs[name].tolist() == frame[name].tolist()
    assert np.array_equal(table.obsm["spatial"], frame[["centroid_x", "centroid_y"]])


def test_h5ad_holds_what_was_measured(folder: Path) -> None:
    table = anndata.read_h5ad(export(folder, "anndata"))

    check(table, folder)
    first = NUCLEI[0]
    centre = np.argwhere(first.mask).mean(axis=0) + 0.5
    expected = [(first.x + centre[1]) / 2, (first.y + centre[0]) / 2]
    assert np.allclose(table.obsm["spatial"][0], expected)
    assert json.loads(table.uns["tsfd"])["scale"] == 0.5


def test_h5ad_without_nuclei_has_the_same_columns(empty: Path) -> None:
    check(anndata.read_h5ad(export(empty, "anndata")), empty)


def test_shapes_of_spatialdata_are_the_outlines_named_by_id(folder: Path) -> None:
    path = export(folder, "spatialdata")

    shapes = geopandas.read_parquet(path / "shapes/nuclei/shapes.parquet")
    frame = geopandas.read_parquet(folder / "nuclei.parquet").set_index("id")
    assert list(shapes.columns) == ["geometry"]
    assert shapes.index.equals(frame.index)
    assert shapes.geometry.geom_equals(frame.geometry).all()


def test_the_table_of_spatialdata_annotates_the_shapes(folder: Path) -> None:
    path = export(folder, "spatialdata")

    table = anndata.read_zarr(path / "tables/table")
    check(table, folder)
    keys = {"region": "nuclei", "region_key": "region", "instance_key": "id"}
    assert table.uns["spatialdata_attrs"] == keys
    assert set(table.obs["region"]) == {"nuclei"}
    root = zarr.open_group(path, mode="r")
    assert root.attrs["spatialdata_attrs"] == {"version": "0.2"}
    assert keys.items() <= root["tables/table"].attrs.asdict().items()
    assert root["tables/table"].attrs["version"] == "0.2"
    assert root["shapes/nuclei"].attrs["spatialdata_attrs"] == {"version": "0.3"}


def test_spatialdata_without_nuclei_is_a_table_of_nothing(empty: Path) -> None:
    path = export(empty, "spatialdata")

    assert list(zarr.open_group(path / "shapes", mode="r").group_keys()) == []
    table = anndata.read_zarr(path / "tables/table")
    check(table, empty)
    assert "spatialdata_attrs" not in table.uns
