"""Regions of the page in AnnData and SpatialData."""

from __future__ import annotations

from pathlib import Path

import anndata
import geopandas
import pytest
import spatialdata
from shapely import box

from tests.client.export.test_export_anndata import check
from tests.client.regions_files import feature, saved, square
from tsfd_client.errors import OutputError
from tsfd_client.export import export
from tsfd_client.nuclei.regions import drawn_on_page

NAMES = ["margin/left", "region 1", "margin/left (2)"]


@pytest.fixture
def drawn(folder: Path) -> Path:
    """A result with three regions that overlap, one of them in two parts."""
    saved(
        folder / "regions.geojson",
        feature("Polygon", [square(0, 80)], name=NAMES[0], classification={"name": "Tumor"}),
        feature("MultiPolygon", [[square(0, 40)], [square(60, 160)]]),
        feature("Polygon", [square(20, 60)], name=NAMES[0]),
        feature("Point", [1, 1]),
    )
    return folder


def check_membership(table: anndata.AnnData, folder: Path) -> None:
    check(table, folder)
    frame = geopandas.read_parquet(folder / "nuclei.parquet")
    centroids = geopandas.points_from_xy(frame.centroid_x, frame.centroid_y)
    assert list(table.uns["regions"]) == NAMES
    assert table.obsm["regions"].dtype == bool
    for column, region in zip(table.obsm["regions"].T, drawn_on_page(folder), strict=True):
        assert 0 < column.sum() < len(table)
        assert column.tolist() == centroids.within(region.outline).tolist()


def test_anndata_says_in_which_regions_a_nucleus_is(drawn: Path) -> None:
    check_membership(anndata.read_h5ad(export(drawn, "anndata")), drawn)


@pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The 'mode.chained_assignment' option is deprecated")
def test_spatialdata_has_the_regions_as_shapes(drawn: Path) -> None:
    data = spatialdata.read_zarr(export(drawn, "spatialdata"))

    check_membership(data.tables["table"], drawn)
    shapes = data.shapes["regions"]
    assert shapes.index.tolist() == NAMES
    assert shapes["class"].fillna("").tolist() == ["Tumor", "", ""]
    expected = geopandas.GeoSeries([region.outline for region in drawn_on_page(drawn)], NAMES)
    assert shapes.geometry.geom_equals(expected).all()
    frame = geopandas.read_parquet(drawn / "nuclei.parquet").set_index("id")
    assert data.shapes["nuclei"].geometry.geom_equals(frame.geometry).all()


@pytest.mark.filterwarnings("ignore:Call to deprecated class Scaler:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The 'mode.chained_assignment' option is deprecated")
def test_regions_of_a_slide_without_nuclei(empty: Path) -> None:
    saved(empty / "regions.geojson", feature("Polygon", [square(0, 80)], name="alone"))
    data = spatialdata.read_zarr(export(empty, "spatialdata"))
    assert list(data.shapes) == ["regions"]
    assert data.shapes["regions"].geometry["alone"].equals(box(0, 0, 80, 80))
    assert data.tables["table"].obsm["regions"].shape == (0, 1)


def test_damaged_regions_are_named(folder: Path) -> None:
    path = folder / "regions.geojson"
    path.write_text("{")
    with pytest.raises(OutputError, match=r"is not GeoJSON\. Repair or remove the file\.$"):
        export(folder, "anndata")
    assert not (folder / "nuclei.h5ad").exists()
