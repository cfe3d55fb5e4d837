"""The page in a real browser: what is clicked, counted and drawn is what the tables say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page
from programs import until

from tests.client.view.pages import NAME, drawn, go, press, set_slider
from tests.client.view.test_view_server import TOKEN, serving


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

    def drawing() -> bytes:
        return page.locator("#map canvas").screenshot()

    seen = [drawing()]

    def settled() -> bool:
        """Tiles that have just been drawn fade in."""
        seen.append(drawing())
        return seen[-1] == seen[-2]

    until(settled, 10)
    with_all = seen[-1]
    press(page, "1")
    assert not page.is_checked("#class-1")
    assert drawing() != with_all
    press(page, "1")
    until(lambda: drawing() == with_all, 10)


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


def test_two_quick_changes_of_the_address_make_one_map(page: Page) -> None:
    page.evaluate("location.hash = ''")
    page.wait_for_selector("#results a")
    page.evaluate(
        """name => {
            location.hash = name;
            setTimeout(() => { location.hash = ''; location.hash = name; });
        }""",
        NAME,
    )
    drawn(page)
    page.wait_for_load_state("networkidle")
    assert page.locator("#map canvas.maplibregl-canvas").count() == 1
    assert page.locator("#draw").count() == 1
    page.evaluate("name => { location.hash = name; location.hash = ''; }", "broken")
    page.wait_for_selector("#results a")
    page.wait_for_load_state("networkidle")
    assert page.locator("#slide").is_hidden()
    assert page.locator("#map canvas").count() == 0


def test_a_server_that_has_ended_is_told(browser: Browser, shown: Path) -> None:
    page = browser.new_page()
    with serving(shown) as url:
        page.goto(f"{url}/?token={TOKEN}")
        page.click(f"text={NAME}")
        drawn(page)
    for address in ("", "#broken"):
        page.evaluate("address => { location.hash = address; }", address)
        told = page.locator("#problem" if address else "#unread")
        told.wait_for()
        assert told.inner_text() == (
            "There is no answer: has `tsfd view` been ended? Start it again, and open the address "
            "it prints."
        )
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
