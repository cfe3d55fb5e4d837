"""The page in a real browser: what is clicked, counted and drawn is what the tables say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page
from shapely import Polygon, contains_xy

from tests.client.view.pages import NAME, drawn, go, press, set_slider
from tests.client.view.test_view_server import TOKEN, serving
from training.target import CLASSES


@pytest.fixture(scope="module")
def nuclei(shown: Path) -> pd.DataFrame:
    return pq.read_table(shown / NAME / "nuclei.parquet").to_pandas()


@pytest.fixture(scope="module")
def url(shown: Path) -> Iterator[str]:
    with serving(shown) as url:
        yield url


@pytest.fixture(params=[1, 2], ids=["one pixel per pixel", "two"])
def page(browser: Browser, url: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The slide's page, whole in view."""
    size = {"width": 1000, "height": 700}
    context = browser.new_context(viewport=size, device_scale_factor=request.param)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{url}/?token={TOKEN}")
    page.click(f"text={NAME}")
    drawn(page)
    yield page
    assert errors == []
    context.close()


@pytest.mark.parametrize("zoom", [0.5, 1.5, 3])
def test_a_click_on_a_nucleus_names_it(page: Page, nuclei: pd.DataFrame, zoom: float) -> None:
    """In the middle, and in the last column and row of a 20x slide."""
    box = page.locator("#map").bounding_box()
    for row in (len(nuclei) // 2, nuclei["centroid_x"].idxmax(), nuclei["centroid_y"].idxmax()):
        nucleus = nuclei.loc[row]
        go(page, nucleus["centroid_x"], nucleus["centroid_y"], zoom)
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        told = page.inner_text("#nucleus").split("\n")
        told = [line.strip() for line in told if line.strip()]
        assert told[told.index("nucleus") + 1] == str(nucleus["id"])
        assert told[told.index("class") + 1] == nucleus["class"]
        assert told[told.index("area") + 1] == f"{nucleus['area_um2']:.1f} µm²"


def counted(page: Page) -> int:
    return int(page.inner_text("#count").replace(",", ""))


def test_counts_are_those_of_the_table(page: Page, nuclei: pd.DataFrame) -> None:
    assert counted(page) == len(nuclei)
    go(page, 300, 300, 2)
    box = page.locator("#map").bounding_box()
    half = np.array([box["width"], box["height"]]) / 2 / 2 ** (2 - 1)  # level 0 is zoom 1
    x, y = nuclei["centroid_x"], nuclei["centroid_y"]
    seen = (abs(x - 300) < half[0]) & (abs(y - 300) < half[1])
    assert counted(page) == seen.sum()
    set_slider(page, "prob", 70)
    assert counted(page) == (seen & (np.rint(100 * nuclei["class_prob"]) >= 70)).sum()


def test_toggles_change_what_is_drawn(page: Page) -> None:
    go(page, 300, 300, 1)
    with_all = page.locator("#map canvas").screenshot()
    press(page, "1")
    assert not page.is_checked("#class-1")
    without = page.locator("#map canvas").screenshot()
    press(page, "1")
    assert page.locator("#map canvas").screenshot() == with_all != without


def test_a_region_is_counted_and_saved(page: Page, nuclei: pd.DataFrame, tmp_path: Path) -> None:
    go(page, 300, 300, 1)
    box = page.locator("#map").bounding_box()
    centre = np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
    corners = np.array([[120, 150], [480, 180], [400, 450], [150, 400]])
    page.click("#draw")
    for corner in corners:
        page.mouse.click(*(centre + corner - 300))
        page.wait_for_timeout(600)  # two clicks at once end it
    page.mouse.dblclick(*(centre + corners[0] - 300))
    inside = contains_xy(Polygon(corners), nuclei["centroid_x"], nuclei["centroid_y"])
    counts = nuclei[inside]["class"].value_counts().to_dict()
    told = page.inner_text("#region").split("\n")
    assert {kind: int(told[told.index(kind) + 1]) for kind in CLASSES[1:]} == counts
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "region.geojson")
    (feature,) = json.loads((tmp_path / "region.geojson").read_text())["features"]
    assert feature["properties"]["counts"] == counts
    assert feature["properties"]["mm2"] == pytest.approx(Polygon(corners).area * 0.25e-6, rel=0.01)
    saved = Polygon(feature["geometry"]["coordinates"][0])
    assert saved.symmetric_difference(Polygon(corners)).area < 0.01 * saved.area
    page.keyboard.press("Escape")
    assert page.locator("#save").is_hidden()


def test_a_deep_link_restores_the_view(page: Page) -> None:
    go(page, 123.5, 456.5, 2.25)
    page.reload()
    drawn(page)
    assert page.url.endswith("#a%20slide%20%26%20more/123.5/456.5/2.250")


def test_a_broken_result_is_told(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(f"{url}/?token={TOKEN}")
    page.click("text=broken")
    page.wait_for_selector("#problem:not([hidden])")
    assert "is damaged: remove it and run `tsfd segment` again." in page.inner_text("#problem")
    page.close()


def test_a_slide_that_has_moved_is_told(browser: Browser, shown: Path) -> None:
    """Its nuclei are shown all the same."""
    image = shown.parent / "slide.tif"
    image.rename(shown.parent / "moved.tif")
    try:
        with serving(shown) as url:
            page = browser.new_page()
            page.goto(f"{url}/?token={TOKEN}")
            page.click(f"text={NAME}")
            drawn(page)
            assert page.inner_text("#problem") == (
                f"The image has been moved or deleted: {image} does not exist."
            )
            assert counted(page) > 0
            page.close()
    finally:
        (shown.parent / "moved.tif").rename(image)


def test_a_folder_without_results_is_told(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        page = browser.new_page()
        page.goto(f"{url}/?token={TOKEN}")
        page.wait_for_selector("#none:not([hidden])")
        none = "There are no results here yet: tsfd segment writes them."
        assert page.inner_text("#none") == none
        page.close()
