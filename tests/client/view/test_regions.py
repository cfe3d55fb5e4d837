"""Regions on the page: drawn, named, counted, kept, exported and imported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect
from shapely import Polygon, box, contains_xy
from shapely.geometry import mapping

from tests.client.regions_files import feature
from tests.client.regions_files import saved as saved_as
from tests.client.view.conftest import SIDE
from tests.client.view.pages import NAME, drawn, go, press, set_slider
from tests.client.view.test_view_server import TOKEN, get, put, serving
from training.target import CLASSES
from tsfd_client.cli import main
from tsfd_client.nuclei import summary

CORNERS = np.array([[120, 150], [480, 180], [400, 450], [150, 400]])
OUTER = [[100, 100], [500, 100], [500, 500], [100, 500], [100, 100]]
HOLE = [[200, 200], [350, 200], [350, 350], [200, 350], [200, 200]]


@pytest.fixture
def page(browser: Browser, shown: Path) -> Iterator[Page]:
    """The slide's page, a pixel of level 0 per pixel."""
    errors: list[str] = []
    with serving(shown) as url:
        page = browser.new_page(viewport={"width": 1040, "height": 700})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{url}/?token={TOKEN}")
        page.click(f"text={NAME}")
        drawn(page)
        go(page, 300, 300, 1)
        yield page
        page.close()
    (shown / NAME / "regions.geojson").unlink(missing_ok=True)
    assert errors == []


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    box = page.locator("#map").bounding_box()
    return box["x"] + box["width"] / 2 + x - 300, box["y"] + box["height"] / 2 + y - 300


def draw(page: Page, corners: np.ndarray) -> None:
    page.click("#draw")
    for corner in corners:
        page.mouse.click(*place(page, *corner))
        page.wait_for_timeout(500)  # two clicks at once end it
    page.mouse.dblclick(*place(page, *corners[0]))


def rows(page: Page, number: int) -> dict[str, list[str]]:
    """By class: nuclei, share and density in a region."""
    cells = page.locator(f"#region-list li:nth-child({number}) tbody tr").all()
    lines = [line.locator("th, td").all_text_contents() for line in cells]
    return {name: values for name, *values in lines}


def saved(shown: Path) -> list[dict]:
    return json.loads((shown / NAME / "regions.geojson").read_text())["features"]


def test_a_region_is_counted_kept_and_exported(
    page: Page, shown: Path, nuclei: pd.DataFrame, tmp_path: Path
) -> None:
    draw(page, CORNERS)
    inside = nuclei[contains_xy(Polygon(CORNERS), nuclei["centroid_x"], nuclei["centroid_y"])]
    counts = inside["class"].value_counts().to_dict()
    mm2 = Polygon(CORNERS).area * 0.25e-6
    told = rows(page, 1)
    assert {kind: int(told[kind][0]) for kind in CLASSES[1:]} == counts
    for kind, (_, share, density) in told.items():
        assert share == f"{100 * counts[kind] / len(inside):.1f} %"
        assert float(density.replace(",", "")) == pytest.approx(counts[kind] / mm2, rel=0.02)
    assert page.inner_text("#region-list summary").startswith(f"{len(inside)} nuclei, ")
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        page.fill("#region-list .name", "margin")
        page.locator("#region-list .name").blur()
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        page.fill("#region-list .kind", "Tumor")
        page.locator("#region-list .kind").blur()

    page.reload()
    page.wait_for_selector("#region-list li")
    assert page.input_value("#region-list .name") == "margin"
    assert page.inner_text("#map .region-name") == "margin"
    assert page.input_value("#region-list .kind") == "Tumor"
    assert rows(page, 1) == told

    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "regions.geojson")
    (feature,) = json.loads((tmp_path / "regions.geojson").read_text())["features"]
    said = feature["properties"]
    assert said["counts"] == counts
    assert said["mm2"] == pytest.approx(mm2, rel=0.01)
    assert (said["objectType"], said["name"]) == ("annotation", "margin")
    assert said["classification"] == {"name": "Tumor"}
    outline = Polygon(feature["geometry"]["coordinates"][0])
    assert outline.symmetric_difference(Polygon(CORNERS)).area < 0.01 * outline.area

    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        page.click("#region-list button[title=remove]")
    expect(page.locator("#region-list li")).to_have_count(0)
    assert saved(shown) == []


def test_densities_of_a_region_per_mm2_of_it_and_of_its_tissue(
    page: Page, shown: Path, nuclei: pd.DataFrame, tmp_path: Path
) -> None:
    assert page.locator("#region-list .quiet").count() == 0
    path = shown / NAME / "tissue.geojson"
    path.write_text(json.dumps(mapping(box(0, 0, 310, SIDE))))
    tissue = box(0, 0, 320, SIDE)  # whole pixels of the mask
    page.reload()
    drawn(page)
    path.unlink()
    holed = {"type": "Polygon", "coordinates": [OUTER, HOLE]}
    (tmp_path / "holed.geojson").write_text(json.dumps(holed))
    page.set_input_files("#file", tmp_path / "holed.geojson")
    page.click("#region-list summary")
    region = Polygon(OUTER, [HOLE])
    part = region.intersection(tissue).area
    count = contains_xy(region, nuclei["centroid_x"], nuclei["centroid_y"]).sum()
    told = page.inner_text("#region-list .quiet").replace(",", "")
    percent, density = map(int, re.findall(r"\d+", told)[:2])
    assert told == f"Tissue is {percent} % of it with {density} nuclei per mm² of tissue."
    assert percent == pytest.approx(100 * part / region.area, abs=3)
    assert density == pytest.approx(count / (part * 0.25e-6), rel=0.05)


def test_regions_of_qupath_are_imported(
    page: Page, shown: Path, nuclei: pd.DataFrame, tmp_path: Path
) -> None:
    """With their names, classes and holes; several parts are one region."""
    apart = [[550, 550], [700, 550], [700, 700], [550, 700], [550, 550]]
    colour = [200, 0, 0]
    features = [
        {
            "type": "Feature",
            "id": "10c3a8b2-0000-4000-8000-000000000000",
            "geometry": {"type": "MultiPolygon", "coordinates": [[OUTER, HOLE], [apart]]},
            "properties": {
                "objectType": "annotation",
                "name": "with a hole",
                "classification": {"name": "Stroma", "color": colour},
            },
        },
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [OUTER]}},
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}},
    ]
    path = tmp_path / "qupath.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        page.set_input_files("#file", path)
    assert page.inner_text("#regions-told") == "2 imported from qupath.geojson."
    x, y = nuclei["centroid_x"], nuclei["centroid_y"]
    whole = contains_xy(Polygon(OUTER), x, y)
    holed = (whole & ~contains_xy(Polygon(HOLE), x, y)) | contains_xy(Polygon(apart), x, y)
    for number, expected in ((1, holed), (2, whole)):
        told = rows(page, number)
        counts = nuclei[expected]["class"].value_counts()
        assert {kind: int(told[kind][0]) for kind in CLASSES[1:]} == counts.to_dict()
    first, second = saved(shown)
    assert first == features[0]
    assert second["properties"] == {"objectType": "annotation", "name": "Region 1"}

    path.write_text("no JSON")
    page.set_input_files("#file", path)
    expect(page.locator("#regions-told")).to_have_text(
        "qupath.geojson has no polygons in GeoJSON, such as QuPath exports them."
    )


def test_the_command_counts_as_the_page_does(
    page: Page, shown: Path, nuclei: pd.DataFrame, tmp_path: Path
) -> None:
    """Also with holes, in parts, if an outline crosses itself or runs through centroids."""
    places = nuclei[["centroid_x", "centroid_y"]]
    exact = places[(places == places.astype(np.float32)).all(axis=1)]  # all that the page knows
    x, y = exact.to_numpy()[len(exact) // 2]
    apart = [[550, 550], [700, 550], [700, 700], [550, 700]]
    polygons = [
        [CORNERS.tolist()],
        [OUTER, HOLE],
        [[[100, 100], [500, 500], [500, 100], [100, 500]]],
        [[[x, y], [x + 200, y], [x + 200, y + 200], [x, y + 200]]],
        [[[x, y], [x - 200, y], [x - 200, y + 200], [x, y + 200]]],
    ]
    features = [feature("Polygon", rings, name=f"{i}") for i, rings in enumerate(polygons)]
    features.append(feature("MultiPolygon", [[OUTER, HOLE], [apart]], name="parts"))
    with page.expect_response(lambda answer: answer.request.method == "PUT"):
        page.set_input_files("#file", saved_as(tmp_path / "some.geojson", *features))
    result = shown / NAME
    summary.write(result / "nuclei.parquet", 0.13, 0.13)
    try:
        assert main(["regions", str(result)]) == 0
        counted = summary.read(result)["regions"]
    finally:
        for name in ("summary.json", "regions.csv"):
            (result / name).unlink()
    assert len(counted) == len(features)
    for number, record in enumerate(counted, start=1):
        told = rows(page, number)
        for kind, figures in record["classes"].items():
            assert int(told[kind][0]) == figures["nuclei"]
            assert float(told[kind][1].split()[0]) == pytest.approx(100 * figures["share"], abs=0.1)
        sum_of = page.inner_text(f"#region-list li:nth-child({number}) summary").replace(",", "")
        assert sum_of.startswith(f"{record['nuclei']} nuclei")
        if number != 3:  # of what crosses itself, the page's area is too small
            area = float(re.search(r"([\d.]+) mm²", sum_of)[1])
            assert area == pytest.approx(record["mm2"], rel=0.005)


def test_a_line_leads_to_the_pointer(page: Page) -> None:
    """Until the region is given up; it is dark, with light edges, on any tissue."""
    page.evaluate("document.body.dataset.state = ''")
    set_slider(page, "opacity", 0)
    drawn(page)
    before = picture(page)
    page.click("#draw")
    page.mouse.click(*place(page, 200, 200))
    page.evaluate("document.body.dataset.state = ''")
    page.mouse.move(*place(page, 400, 300))
    drawn(page)
    line = picture(page)
    height, width = before.shape[:2]
    middle = np.s_[height // 2 - 60 : height // 2 - 40, width // 2 - 10 : width // 2 + 10]
    was, now = before[middle].mean(axis=2), line[middle].mean(axis=2)  # around (300, 250)
    assert now.min() < 60 < was.min()
    assert now.max() > 240 > was.max()
    press(page, "Escape")
    assert (picture(page) == before).all()


def picture(page: Page) -> np.ndarray:
    """What the map shows, uint8 [h, w, 3], without its edge, which tells the focus."""
    style = "#tools, #overview, #legend, #foot { visibility: hidden }"
    content = np.frombuffer(page.locator("#map canvas").screenshot(style=style), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_COLOR)[10:-10, 10:-10]


def test_what_the_server_keeps(shown: Path) -> None:
    path = shown / NAME / "regions.geojson"
    url_name = NAME.replace(" ", "%20").replace("&", "%26")
    ring = [[0, 0], [9, 0], [9, 9], [0, 0]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    content = json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()
    with serving(shown) as url:
        address = f"{url}/data/{url_name}/regions.geojson"
        assert json.loads(get(address)[1])["features"] == []
        changed = (412, b"The regions have been changed elsewhere.")
        assert put(address, content, **{"If-Match": '"of another time"'}) == changed
        assert put(address, content) == (204, b"")
        assert get(address) == (200, content)
        feature["geometry"]["coordinates"] = [[[0, 0]]]
        for wrong in (b"", b"[]", b'{"type": "FeatureCollection"}', json.dumps(feature).encode()):
            refused = (409, b"These are no regions: a FeatureCollection of polygons.")
            assert put(address, wrong) == refused
        assert put(address, b" " * 16_000_001) == (409, b"The regions are larger than 16 MB.")
        assert put(address, content, Cookie="")[0] == 403
        assert put(address.replace("regions.geojson", "run.json"), content)[0] == 405
        assert path.read_bytes() == content
        path.write_text("damaged")
        told = f"{path} is not GeoJSON. Repair or remove the file, then reload."
        assert get(address) == (409, told.encode())
    path.unlink()
