"""Results that appear or vanish while the page is open."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.client.export.run_folder import finished
from tests.client.view.pages import drawn
from tests.client.view.test_view_server import TOKEN, get, serving


def test_the_list_follows(browser: Browser, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        finished(tmp_path / name, 1.0)
    page = browser.new_page()
    with serving(tmp_path) as url:
        page.goto(f"{url}/?token={TOKEN}")
        named = page.locator("#results b")
        expect(named).to_have_text(["first", "second"])
        page.focus("#results a >> nth=1")
        shutil.rmtree(tmp_path / "first")
        (tmp_path / "third").mkdir()
        finished(tmp_path / "third", 1.0)
        expect(named).to_have_text(["second", "third"], timeout=30_000)
        assert page.evaluate("document.activeElement.querySelector('b').textContent") == "second"
        page.click("text=third")
        drawn(page)
        shutil.rmtree(tmp_path / "third")
        page.reload()
        expect(page.locator("#problem")).to_have_text("There is no such result.")
        (tmp_path / "fourth").mkdir()
        finished(tmp_path / "fourth", 1.0)
        assert get(f"{url}/data/fourth/view.json")[0] == 200  # not listed before it was opened
    page.close()
