"""Results that cannot be written to are shown all the same."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.client.view.pages import NAME, drawn
from tests.client.view.test_regions import CORNERS, draw


def test_what_the_page_needs_is_kept_elsewhere(
    browser: Browser, read_only: Path, read_only_address: str, tmp_path: Path
) -> None:
    before = set(read_only.rglob("*"))
    page = browser.new_page(viewport={"width": 1040, "height": 700})
    page.goto(read_only_address)
    page.click(f"text={NAME}")
    drawn(page)
    (kept,) = (tmp_path / "tsfd").iterdir()
    assert page.inner_text("#kept") == (
        f"This result's folder cannot be written to. What the page needs is kept in {kept}."
    )
    assert {path.name for path in kept.iterdir()} >= {"nuclei.bin", "nuclei.pmtiles"}
    assert page.inner_text("#regions-kept") == (
        "Regions are kept in this browser and for this address alone: export them to keep them."
    )
    draw(page, CORNERS)
    expect(page.locator("#region-list li")).to_have_count(1)
    page.reload()
    expect(page.locator("#region-list li")).to_have_count(1)
    page.close()
    assert set(read_only.rglob("*")) == before
