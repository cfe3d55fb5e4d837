"""Results that cannot be written to are shown all the same."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.client.view.pages import NAME, drawn
from tests.client.view.test_regions import CORNERS, draw

DROP, OVERRIDE = 24, 1  # of prctl: take from a process that root may write everywhere


@pytest.fixture
def read_only(shown: Path) -> Iterator[Path]:
    """The results, in folders without permission to write."""
    folders = [shown, *(path for path in shown.rglob("*") if path.is_dir())]
    modes = [path.stat().st_mode for path in folders]
    for path in folders:
        path.chmod(0o555)
    yield shown
    for path, mode in zip(folders, modes, strict=True):
        path.chmod(mode)


def test_what_the_page_needs_is_kept_elsewhere(
    browser: Browser, read_only: Path, tmp_path: Path
) -> None:
    before = set(read_only.rglob("*"))
    libc = ctypes.CDLL(None)
    command = [sys.executable, "-m", "tsfd_client.cli", "view", read_only, "--port=0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
        preexec_fn=lambda: libc.prctl(DROP, OVERRIDE),
    ) as process:
        page = browser.new_page(viewport={"width": 1040, "height": 700})
        page.goto(process.stdout.readline().split()[-1])
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
        process.terminate()
    assert set(read_only.rglob("*")) == before
