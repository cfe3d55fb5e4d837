"""Results that appear or vanish while the page is open, and a server that is started again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from playwright.sync_api import Browser, expect
from programs import free_port

from tests.client.commands import TSFD
from tests.client.export.run_folder import finished
from tests.client.view.pages import NAME, drawn, go
from tests.client.view.test_marking import click, near, says
from tests.client.view.test_view_server import TOKEN, get, serving
from tsfd_client.files import MARKS


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


@contextmanager
def viewing(folder: Path, port: int) -> Iterator[str]:
    """The address that `tsfd view` prints."""
    command = [*TSFD, "view", str(folder), f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield server.stdout.readline().split()[-1]
        server.terminate()


def test_a_page_goes_on_with_a_server_that_is_started_again(
    browser: Browser, shown: Path, nuclei: pd.DataFrame
) -> None:
    """Once its new address has been opened: the old one is worth nothing to others any more."""
    context, port = browser.new_context(viewport={"width": 1040, "height": 900}), free_port()
    page, one = context.new_page(), near(nuclei).iloc[0]
    with viewing(shown, port) as old:
        page.goto(old)
        page.click(f"text={NAME}")
        drawn(page)
        go(page, 300, 300, 1)
        page.click("#marking summary")
    page.keyboard.press("Shift+1")
    click(page, one)
    told = page.locator("#marking-told")
    expect(told).to_contain_text("Not saved: There is no answer: has `tsfd view` been ended?")
    with viewing(shown, port) as new:
        click(page, one)
        expect(told).to_have_text(
            "Not saved: Open the address that `tsfd view` printed; pages that are open already "
            "go on then."
        )
        assert get(old)[0] == 403
        context.new_page().goto(new)
        click(page, one)
        says(page, {"neoplastic": 1})
        context.close()
    (shown / NAME / MARKS).unlink()
