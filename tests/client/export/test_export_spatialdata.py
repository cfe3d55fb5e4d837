"""SpatialData, read back by its own library."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import spatialdata
from spatialdata.transformations import Identity, get_transformation

from tests.client.export.test_export_anndata import check
from tsfd_client.export import export

pytestmark = [
    # ome-zarr uses a class of its own that it has deprecated, anndata an option of pandas.
    pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'mode.chained_assignment' option is deprecated"),
]


def test_the_library_reads_shapes_and_the_table_that_annotates_them(folder: Path) -> None:
    data = spatialdata.read_zarr(export(folder, "spatialdata"))

    frame = geopandas.read_parquet(folder / "nuclei.parquet").set_index("id")
    shapes = data.shapes["nuclei"]
    assert shapes.geometry.geom_equals(frame.geometry).all()
    assert get_transformation(shapes, to_coordinate_system="global") == Identity()
    check(data.tables["table"], folder)
    classes = spatialdata.get_values("class", sdata=data, element_name="nuclei", table_name="table")
    assert classes["class"].tolist() == frame["class"].tolist()


def test_a_region_takes_its_nuclei_and_their_rows(folder: Path) -> None:
    data = spatialdata.read_zarr(export(folder, "spatialdata"))
    left, top, right, bottom = data.shapes["nuclei"].total_bounds
    box = {"min_coordinate": [left, top], "max_coordinate": [(left + right) / 2, bottom]}

    part = data.query.bounding_box(("x", "y"), **box, target_coordinate_system="global")

    inside = data.shapes["nuclei"].cx[left : (left + right) / 2, top:bottom]
    assert 0 < len(inside) < len(data.shapes["nuclei"])
    assert set(part.shapes["nuclei"].index) == set(inside.index)
    assert np.array_equal(np.sort(part.tables["table"].obs["id"]), np.sort(inside.index))


def test_the_library_reads_a_slide_without_nuclei(empty: Path) -> None:
    data = spatialdata.read_zarr(export(empty, "spatialdata"))

    assert list(data.shapes) == []
    check(data.tables["table"], empty)
