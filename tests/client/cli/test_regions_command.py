"""``tsfd regions``: which outlines are of which result, and what is said of those left out."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from tests.client.export.run_folder import finished
from tests.client.regions_files import feature, saved, square
from tsfd_client.cli import main
from tsfd_client.files import COUNTS
from tsfd_client.nuclei import summary

ALL = feature("Polygon", [square(0, 320)], name="all")
PART = feature("Polygon", [square(0, 160)], name="part")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """``a`` and ``b``, of two images."""
    for name in "ab":
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        summary.write(finished(folder, 1.0, content=name) / "nuclei.parquet", 1, 1)
    return tmp_path / "results"


def names(result: Path) -> list[str]:
    return pd.read_csv(result / COUNTS)["name"].tolist()


def run(*paths: Path) -> int:
    return main(["regions", *map(str, paths)])


def test_regions_of_the_page_are_counted_without_a_server(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(results / "a/regions.geojson", ALL, PART)
    assert run(results) == 0
    told = capsys.readouterr()
    assert told.out == f"{results / 'a' / COUNTS}: regions: 2\n"
    assert told.err == (
        f"tsfd: {results / 'b'} has no regions: draw some in `tsfd view`, or name files of them.\n"
    )
    assert names(results / "a") == ["all", "part"]
    assert not (results / "b" / COUNTS).exists()
    saved(results / "a/regions.geojson", PART)
    assert run(results / "a") == 0
    assert names(results / "a") == ["part"]
    assert [each["name"] for each in summary.read(results / "a")["regions"]] == ["part"]
    saved(results / "a/regions.geojson")  # all have been removed
    assert run(results / "a") == 1
    assert (names(results / "a"), summary.read(results / "a")["regions"]) == ([], [])


def test_files_are_of_the_results_that_they_name(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(results / "a/regions.geojson", PART)  # not counted if files are named
    a, b = saved(tmp_path / "a.geojson", ALL), tmp_path / "b.geojson.gz"
    b.write_bytes(gzip.compress(saved(tmp_path / "some.json", PART, PART).read_bytes()))
    more = saved(tmp_path / "a.json", ALL)
    assert run(results, a, b, more, a) == 0
    assert names(results / "a") == ["all", "all (2)"]
    assert names(results / "b") == ["part", "part (2)"]
    assert capsys.readouterr().err == ""

    nobodys = tmp_path / "some.json"
    assert run(results, nobodys) == 1
    assert capsys.readouterr().err.startswith(
        f"tsfd: {nobodys} does not say which result it is of: give it the result's name, as in "
        "a.geojson.\n"
    )
    assert run(results / "b", nobodys) == 0  # whatever its name, if there is one result


def test_outlines_of_an_image_are_those_of_all_its_results(results: Path, tmp_path: Path) -> None:
    again = results / "again"
    again.mkdir()
    summary.write(finished(again, 1.0, content="a") / "nuclei.parquet", 1, 1)
    assert run(results / "a", again, saved(tmp_path / "any.geojson", ALL)) == 0
    assert names(results / "a") == names(again) == ["all"]
    saved(tmp_path / "again.geojson", PART)
    assert run(results, tmp_path / "again.geojson") == 0
    assert names(results / "a") == names(again) == ["part"]


def test_what_cannot_be_used_is_named_and_the_rest_is_counted(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(
        tmp_path / "any.geojson",
        ALL,
        feature("Point", [1, 2]),
        feature("Polygon", [square(400, 500)], name="far"),
    )
    assert run(results / "a", path) == 0
    left_out = f"tsfd: {path}: left out, as only polygons are regions: 1 x Point (feature 2).\n"
    outside = (
        f"tsfd: {results / 'a'}, 'far': it lies outside the image, which is 320 x 320 pixels: "
        "coordinates are pixels of the full resolution.\n"
    )
    assert capsys.readouterr().err == left_out + outside

    saved(path, ALL, feature("Polygon", [[[0, 0]]], name="cut"))
    none = tmp_path / "none.geojson"
    assert run(results / "a", path, none) == 1
    assert capsys.readouterr().err == (
        f"tsfd: There is no file {none}.\n"
        f"tsfd: {path}: feature 2 ('cut') is damaged: a region is a list of rings, each of three "
        "or more points [x, y].\n"
    )
    assert names(results / "a") == ["all"]

    saved(path, feature("Polygon", [square(1e10, 2e10)], name="beyond"))
    assert run(results / "a", path) == 1
    damaged, nothing = capsys.readouterr().err.splitlines()
    assert damaged.startswith(f"tsfd: {path}: feature 1 ('beyond') is damaged: ")
    assert nothing == (
        f"tsfd: {results / 'a'}: the files have no region of its image: nothing is counted."
    )
    assert names(results / "a") == ["all"]  # what was counted before stays

    (results / "a/summary.json").write_text("{")
    assert run(results / "a", saved(path, ALL)) == 1
    assert capsys.readouterr().err == (
        f"tsfd: {results / 'a'} is damaged: remove it and run `tsfd segment` again.\n"
    )


def test_without_results_or_regions_nothing_is_counted(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "a.geojson", ALL)
    assert run(path) == 1
    assert capsys.readouterr().err == f"tsfd: {path} is no folder: name the results, too.\n"
    assert run(tmp_path / "gone") == 1
    assert capsys.readouterr().err.endswith("gone does not exist: name the results, too.\n")
    assert run(results / "a", results / "b") == 1
    (results / "a/regions.geojson").write_text("{")
    assert run(results / "a") == 1
    assert f"tsfd: {results / 'a/regions.geojson'} is not GeoJSON.\n" in capsys.readouterr().err
    (results / "a/DONE").unlink()
    (results / "a/run.json").touch()
    assert run(results) == 1
    assert f"tsfd: {results / 'a'} is not finished: left out.\n" in capsys.readouterr().err
    assert run(results / "a", path) == 1
    assert capsys.readouterr().err == (
        f"tsfd: {results / 'a'} is no finished result, and holds none.\n"
    )
