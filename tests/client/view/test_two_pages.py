"""Regions that two pages change at the same time: neither loses what the other has done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.client.view.pages import NAME, drawn, go
from tests.client.view.test_regions import CORNERS, draw
from tests.client.view.test_view_server import TOKEN

NAMES = "#region-list .name"


@pytest.fixture(params=["beside the result", "in the browser"])
def pages(
    browser: Browser, url: str, shown: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Page, Page]]:
    """Two pages of one browser; regions of results that cannot be written to are kept by it."""
    context = browser.new_context(viewport={"width": 1040, "height": 700})
    if request.param == "in the browser":
        context.route("**/view.json", local)
    pages = context.new_page(), context.new_page()
    for page in pages:
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{url}/?token={TOKEN}")
        page.click(f"text={NAME}")
        drawn(page)
        go(page, 300, 300, 1)
    yield pages
    context.close()
    (shown / NAME / "regions.geojson").unlink(missing_ok=True)


def local(route: Route) -> None:
    answer = route.fetch()
    route.fulfill(response=answer, json=answer.json() | {"regions": "browser"})


def names(page: Page) -> list[str]:
    return page.evaluate(f"[...document.querySelectorAll('{NAMES}')].map((name) => name.value)")


def rename(page: Page, old: str, new: str) -> None:
    place = names(page).index(old)
    page.locator(NAMES).nth(place).fill(new)
    page.locator(NAMES).nth(place).blur()


def kept(page: Page, expected: list[str]) -> None:
    """Wait until a page has these regions; they are still there after a reload."""
    for _ in range(2):
        expect(page.locator(NAMES)).to_have_count(len(expected))
        assert names(page) == expected
        page.reload()
        drawn(page)


def test_what_both_draw_is_kept(pages: tuple[Page, Page], shown: Path) -> None:
    first, second = pages
    draw(first, CORNERS)
    rename(first, "Region 1", "tumour")
    expect(first.locator(NAMES)).to_have_count(1)
    draw(second, CORNERS + 50)
    expect(second.locator(NAMES)).to_have_count(2)  # what the first has drawn appears
    rename(second, "Region 1", "margin")
    rename(first, "tumour", "tumour, revised")
    expect(first.locator(NAMES)).to_have_count(2)
    kept(first, ["tumour, revised", "margin"])


def test_what_one_removes_is_not_brought_back(pages: tuple[Page, Page]) -> None:
    first, second = pages
    draw(first, CORNERS)
    draw(first, CORNERS + 50)
    second.reload()
    drawn(second)
    first.locator("#region-list button[title=remove]").first.click()
    expect(first.locator(NAMES)).to_have_count(1)
    rename(second, "Region 2", "stays")
    expect(second.locator(NAMES)).to_have_count(1)
    kept(second, ["stays"])
