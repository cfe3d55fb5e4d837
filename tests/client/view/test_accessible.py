"""The list and a comparison can be used by all: by axe, in both themes and on a tablet."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.client.export.run_folder import NUCLEI, finished
from tests.client.view.pages import drawn
from tests.client.view.test_compare import altered
from tests.client.view.test_view_server import TOKEN, serving
from tsfd_client.cli import main

TABLETS = ((1440, 900), (1024, 768), (768, 1024))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of two results, their comparison, one that is damaged, and one that has stopped."""
    folder = tmp_path_factory.mktemp("accessible")
    nuclei = altered()
    for name, blocks in (("old", [NUCLEI]), ("new", [nuclei])):
        (folder / name).mkdir()
        finished(folder / name, 1.0, blocks)
    out = str(folder / "changed")
    assert main(["compare", str(folder / "old"), str(folder / "new"), "--out", out]) == 0
    shutil.copytree(folder / "old", folder / "damaged")
    (folder / "damaged/nuclei.parquet").write_bytes(b"nothing")
    (folder / "stopped").mkdir()
    (folder / "stopped/events.jsonl").touch()
    with serving(folder) as url:
        yield url


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    page = browser.new_page(color_scheme=request.param, viewport={"width": 1440, "height": 900})
    page.goto(f"{address}/?token={TOKEN}")
    expect(page.locator("#results li")).to_have_count(5)
    yield page
    page.close()


def violations(page: Page) -> list[tuple[str, list]]:
    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]


def too_wide(page: Page, part: str) -> list[str]:
    """What reaches beyond the right edge of a part of the page, from a desktop to a tablet."""
    found = []
    for width, height in TABLETS:
        page.set_viewport_size({"width": width, "height": height})
        found += page.evaluate(
            """([width, part]) => [...document.querySelectorAll(`${part} *`)].filter((one) =>
                one.getBoundingClientRect().right > document.querySelector(part)
                .getBoundingClientRect().right).map((one) => `${width}: ${one.outerHTML}`)""",
            [width, part],
        )
    return found


def test_the_list(page: Page) -> None:
    assert re.search(r"\d nuclei differ", page.text_content("#results li:has-text('comparison')"))
    assert violations(page) == []
    assert too_wide(page, "#list") == []


def test_a_comparison(page: Page) -> None:
    page.click("text=changed")
    drawn(page)
    page.keyboard.press("n")
    for table in page.locator("#compared td").all():  # as of a whole slide
        table.evaluate("cell => { cell.textContent = '888,888'; }")
    assert violations(page) == []
    assert too_wide(page, "#panel") == []
