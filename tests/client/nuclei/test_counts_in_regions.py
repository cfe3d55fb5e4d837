"""Regions read from GeoJSON, and the nuclei counted in each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from shapely import MultiPolygon, Polygon, box

from tests.client.export.run_folder import SIDE, finished
from tests.client.regions_files import feature, saved, square
from training.target import CLASSES
from tsfd_client.errors import OutputError
from tsfd_client.nuclei import summary
from tsfd_client.nuclei.region_counts import membership, write
from tsfd_client.nuclei.regions import Region, drawn_on_page, named, regions_in
from tsfd_client.pixels.tissue import to_geojson

MPP = 0.25


def region(outline: Polygon | MultiPolygon, name: str = "it") -> Region:
    return Region(name, None, outline)


def odd(rings: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What the page does: within an odd number of rings; upper and left edges belong to a ring."""
    inside = np.zeros(len(x), bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, 1, axis=0), strict=True):
            crosses = (y0 > y) != (y1 > y)
            with np.errstate(divide="ignore", invalid="ignore"):  # of level edges
                inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result of 320 x 320 pixels, with nuclei of all classes."""
    folder = tmp_path / "slide"
    folder.mkdir()
    finished(folder, 1.0)
    summary.write(folder / "nuclei.parquet", 0.0064, 0.0064)
    return folder


@pytest.fixture
def nuclei(result: Path) -> pd.DataFrame:
    return pq.read_table(result / "nuclei.parquet").to_pandas()


def within(nuclei: pd.DataFrame, *rings: Any) -> np.ndarray:
    places = (nuclei[name].to_numpy() for name in ("centroid_x", "centroid_y"))
    return odd([np.array(ring, float) for ring in rings], *places)


def test_counts_areas_and_shares_are_those_of_each_region(
    result: Path, nuclei: pd.DataFrame
) -> None:
    """Also with holes, of several parts, and where they overlap."""
    outer, hole, apart = square(20, 220), square(60, 140), square(240, 300)
    outlines = [
        Polygon(outer, [hole]),
        Polygon(outer),
        MultiPolygon([Polygon(outer, [hole]), Polygon(apart)]),
    ]
    regions = [region(each, name) for each, name in zip(outlines, "abc", strict=True)]
    counted = write(result, regions)
    expected = [(outer, hole), (outer,), (outer, hole, apart)]
    for each, rings, outline in zip(counted, expected, outlines, strict=True):
        inside = nuclei[within(nuclei, *rings)]
        assert each.nuclei == {name: (inside["class"] == name).sum() for name in CLASSES[1:]}
        assert each.mm2 == pytest.approx(outline.area * MPP**2 / 1e6)
        assert each.remark == ""
    table = pd.read_csv(result / "regions.csv", keep_default_na=False)
    assert table["name"].tolist() == ["a", "b", "c"]
    told = summary.read(result)["regions"]
    for row, record, each in zip(table.to_dict("records"), told, counted, strict=True):
        total = sum(each.nuclei.values())
        assert row["nuclei"] == record["nuclei"] == total
        assert row["nuclei_per_mm2"] == record["nuclei_per_mm2"]
        assert record["nuclei_per_mm2"] == pytest.approx(total / each.mm2, abs=0.01)
        for name, number in each.nuclei.items():
            assert row[f"nuclei_{name}"] == record["classes"][name]["nuclei"] == number
            assert row[f"share_{name}"] == record["classes"][name]["share"]
            assert row[f"share_{name}"] == pytest.approx(number / total, abs=1e-4)
    assert summary.read(result)["nuclei"] == len(nuclei)  # what was there stays
    member = membership(result / "nuclei.parquet", regions)
    assert member.T.tolist() == [within(nuclei, *rings).tolist() for rings in expected]


def test_tissue_of_a_region_and_its_density(result: Path, tmp_path: Path) -> None:
    """The mask has pixels of 8 micrometres, 32 of the image."""
    regions = [
        region(box(32, 32, 288, 288), "half"),
        region(box(32, 32, 288, 288) - box(100, 100, 180, 220), "half, with a hole"),
        region(box(200, 0, 300, 300), "glass"),
        region(box(-320, 0, 160, 320), "beyond the image"),
        region(box(10, 10, 11, 11), "tiny"),
        region(box(400, 400, 500, 500), "outside"),
        region(Polygon(square(40, 40)), "nothing"),
    ]
    assert [each.tissue_mm2 for each in write(result, regions)] == [None] * len(regions)
    outline = to_geojson(np.arange(10) < np.full((10, 1), 5), SIDE, SIDE)
    (result / "tissue.geojson").write_text(json.dumps(outline))
    tissue = box(0, 0, 160, SIDE)
    for each, record in zip(write(result, regions), summary.read(result)["regions"], strict=True):
        expected = each.region.outline.intersection(tissue).area * MPP**2 / 1e6
        assert each.tissue_mm2 == pytest.approx(expected, rel=0.1)
        assert record["tissue_mm2"] == pytest.approx(each.tissue_mm2, abs=1e-6)
        density = record["nuclei_per_tissue_mm2"]
        if expected:
            assert density == pytest.approx(record["nuclei"] / expected, rel=0.1)
        else:
            assert density is None
    (result / "tissue.geojson").write_text("{")
    with pytest.raises(OutputError, match=r"is not GeoJSON\. Repair or remove"):
        write(result, regions)


@pytest.mark.parametrize("seed", range(5))
def test_outlines_of_any_shape_hold_what_is_within_an_odd_number_of_rings(
    result: Path, nuclei: pd.DataFrame, seed: int
) -> None:
    """Even if they cross themselves many times, as outlines drawn by hand do."""
    rng = np.random.default_rng(seed)
    rings = [rng.uniform(-20, SIDE + 20, (n, 2)) for n in (3, 4, 9, 30)]
    regions = [region(Polygon(ring)) for ring in rings]
    regions.append(region(MultiPolygon([Polygon(ring) for ring in rings])))
    member = membership(result / "nuclei.parquet", regions)
    assert member[:, :-1].T.tolist() == [within(nuclei, ring).tolist() for ring in rings]
    assert member[:, -1].tolist() == within(nuclei, *rings).tolist()


def test_a_nucleus_on_a_common_edge_is_in_one_region(result: Path, nuclei: pd.DataFrame) -> None:
    """The edges run through centroids: level, upright and slanting ones."""
    places = nuclei[["centroid_x", "centroid_y"]].to_numpy()
    level, slanting = [(1, 0), (0, 1), (-1, 0), (0, -1)], [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    for place in places:
        for ways in (level, slanting):
            sides = 1000 * np.array(ways)
            quarters = [
                [place, place + one, place + one + other, place + other]
                for one, other in zip(sides, np.roll(sides, -1, axis=0), strict=True)
            ]
            regions = [region(Polygon(ring)) for ring in quarters]
            member = membership(result / "nuclei.parquet", regions)
            assert (member.sum(axis=1) == 1).all()
            if ways is level:  # where nothing is rounded
                assert member.T.tolist() == [within(nuclei, ring).tolist() for ring in quarters]


def test_what_is_odd_of_a_region_is_said(result: Path, nuclei: pd.DataFrame) -> None:
    bow_tie = [(100, 100), (200, 200), (200, 100), (100, 200)]
    regions = [
        region(box(-100, -100, -50, 0)),
        region(box(-100, 0, 100, 100)),
        region(Polygon([(0, 0), (10, 10), (20, 20)])),
        region(Polygon(bow_tie)),
        region(box(39.5, 39.5, 40, 40)),  # a corner of squares with a nucleus each
        region(box(0, 0, SIDE, SIDE)),
    ]
    image = "the image, which is 320 x 320 pixels"
    counted = write(result, regions)
    assert [each.remark for each in counted] == [
        f"it lies outside {image}: coordinates are pixels of the full resolution",
        f"50.0% of it lies outside {image}, but counts as area",
        "it has no area",
        "its outline crosses itself: what it encloses twice is not part of it",
        "there is no nucleus in it",
        "",
    ]
    assert [each.mm2 * 1e6 / MPP**2 for each in counted] == pytest.approx(
        [5_000, 20_000, 0, 5_000, 0.25, SIDE**2]
    )
    assert sum(counted[3].nuclei.values()) == within(nuclei, bow_tie).sum() > 0
    assert [counted[2].record()[key] for key in ("mm2", "nuclei", "nuclei_per_mm2")] == [0, 0, None]
    table = pd.read_csv(result / "regions.csv", keep_default_na=False)
    assert table["remark"].tolist() == [each.remark for each in counted]
    assert (table["nuclei_per_mm2"][2], table["share_neoplastic"][0]) == ("", "")


def test_a_result_without_nuclei_has_regions(tmp_path: Path) -> None:
    empty = finished(tmp_path, 1.0, [])
    summary.write(empty / "nuclei.parquet", 1, 1)
    (counted,) = write(empty, [region(box(0, 0, 10, 10))])
    assert set(counted.nuclei.values()) == {0}
    assert membership(empty / "nuclei.parquet", [counted.region]).shape == (0, 1)
    assert write(empty, []) == []
    assert len(pd.read_csv(empty / "regions.csv")) == 0


def test_names_tell_regions_apart() -> None:
    given = ["", "a", "", "a", "region 2", "a (2)", "a", ""]
    found = named([region(box(0, 0, 1, 1), name) for name in given])
    assert [each.name for each in found] == [
        *("region 1", "a", "region 3", "a (3)", "region 2", "a (2)", "a (4)", "region 4")
    ]


def test_what_is_read_of_qupath_and_what_is_not(tmp_path: Path) -> None:
    ring = square(0, 10)
    content = [
        feature("Polygon", [ring], name=" margin\n", classification={"names": ["Tumor", "edge"]}),
        feature("MultiPolygon", [[ring], [square(20, 30), square(22, 24)]]),
        feature("Point", [1, 2], name="here"),
        feature("LineString", [[0, 0], [1, 1]]),
        feature("Polygon", [ring], objectType="detection"),
        feature("Polygon", []),
        {"type": "Feature", "geometry": None, "properties": {}},
        {"type": "Polygon", "coordinates": [ring]},
        feature("Polygon", [[[0, 0], [1, 1]]], name="cut"),
        feature("Polygon", [[[0, None], [1, 1], [2, 2]]]),
        None,
        feature("Point", [3, 4]),
    ]
    path = tmp_path / "it.geojson"
    found = regions_in(path, content)
    assert [(each.name, each.kind) for each in found.regions] == [
        ("margin", "Tumor: edge"),
        ("", None),
        ("", None),
    ]
    assert [each.outline.area for each in found.regions] == [100, 196, 100]
    rings = "is damaged: a region is a list of rings, each of three or more points [x, y]."
    assert found.damaged == [
        f"{path}: feature 9 ('cut') {rings}",
        f"{path}: feature 10 {rings}",
        f"{path}: feature 11 {rings}",
    ]
    only = f"{path}: left out, as only polygons are regions:"
    assert found.left_out == [
        f"{only} 2 x Point (feature 3, 12).",
        f"{only} 1 x LineString (feature 4).",
        f"{only} 1 x detection (feature 5).",
        f"{only} 1 x empty Polygon (feature 6).",
        f"{only} 1 x feature without geometry (feature 7).",
    ]


def test_regions_of_the_page_must_be_whole(result: Path) -> None:
    assert drawn_on_page(result) == []
    path = saved(result / "regions.geojson", feature("Polygon", [square(0, 9)]))
    (only,) = drawn_on_page(result)
    assert (only.name, shapely.area(only.outline)) == ("region 1", 81)
    for damage in ("{", json.dumps([feature("Polygon", [[[0, 0]]])])):
        path.write_text(damage)
        with pytest.raises(OutputError, match=r"^.*regions.geojson.* Repair or remove the file\.$"):
            drawn_on_page(result)
