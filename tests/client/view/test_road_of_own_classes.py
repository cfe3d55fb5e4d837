"""The whole road to classes of one's own: mark, learn, relabel, look and compare.

All parts are real: the server of the network, the page in a browser that crashes, and the commands.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Error, Page
from programs import until

from samples.synthetic import generate
from serving.server import TritonServer
from tests.client.commands import TSFD
from tests.client.view.pages import drawn, go
from tests.client.view.test_marking import click, kept, says
from tests.client.view.test_view_server import TOKEN, serving
from training.target import CLASSES

SIDE = 640
SMALL, LARGE = "lymphocyte", "Tumour cell"
COLOURS = {SMALL: "#7700aa", LARGE: "#00aa55"}
EACH = 12  # marks of a class in each window
# Every nucleus is of one of the two, whatever the network calls it.
ONLY = [f"--without={name}" for name in CLASSES[1:]]


def tsfd(*arguments: object) -> str:
    """Run a command, in a process of its own; returns what it prints."""
    command = [*TSFD, *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.fixture(scope="module")
def result(server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field of which it is known what every nucleus is."""
    folder = tmp_path_factory.mktemp("road")
    Image.fromarray(generate(SIDE, SIDE, nuclei=150, seed=2).image).save(folder / "field.png")
    tsfd(
        *("segment", folder / "field.png", "--mpp=0.25", f"--out={folder / 'results'}"),
        f"--server={server.grpc_url}",
    )
    return folder / "results/field"


@pytest.fixture
def nuclei(result: Path) -> pd.DataFrame:
    """The nuclei that are found, with what they really are; others are left out."""
    truth = generate(SIDE, SIDE, nuclei=150, seed=2)
    table = pq.read_table(result / "nuclei.parquet").to_pandas()
    places = table[["centroid_y", "centroid_x"]].to_numpy().astype(int)
    table["is"] = np.append(0, truth.classes)[truth.instance_map[places[:, 0], places[:, 1]]]
    return table[table["is"] > 0]


def opened(context: BrowserContext, url: str, name: str) -> Page:
    """A result's page, a pixel of level 0 per pixel, ready to mark."""
    page = context.new_page()
    page.goto(f"{url}/?token={TOKEN}#{name}")
    drawn(page)
    go(page, 300, 300, 1)
    if not page.evaluate("document.querySelector('#marking').open"):
        page.click("#marking summary")
    return page


def crash(page: Page) -> None:
    """Kill the process that draws the page."""
    with page.expect_event("crash"), suppress(Error):
        page.goto("chrome://crash")


def mark(page: Page, label: str, nuclei: pd.DataFrame) -> None:
    page.bring_to_front()
    page.locator("#kinds .name", has_text=label).click()
    for _, nucleus in nuclei.iterrows():
        click(page, nucleus)


def test_the_road(
    browser: Browser, server: TritonServer, result: Path, nuclei: pd.DataFrame, tmp_path: Path
) -> None:
    parts = {
        SMALL: nuclei[nuclei["is"] == 2],
        LARGE: nuclei[nuclei["is"].isin((1, 5))],
    }
    marks = result / "annotations.geojson"
    context = browser.new_context(viewport={"width": 1400, "height": 1100})
    with serving(result.parent) as url:
        page = opened(context, url, result.name)
        for label, colour in COLOURS.items():
            page.fill("#new-class", label)
            page.fill("#new-colour", colour)
            page.click("#add-class button")
        for label, some in parts.items():
            mark(page, label, some[: EACH + 1])
        kept(marks, 2 * EACH + 2, page)
        page.keyboard.press("Control+z")
        kept(marks, 2 * EACH + 1, page)
        crash(page)

        windows = [opened(context, url, result.name) for _ in range(2)]
        for window in windows:
            says(window, {SMALL: EACH + 1, LARGE: EACH})
        for (label, some), window in zip(parts.items(), windows, strict=True):
            mark(window, label, some[EACH + 1 : 2 * EACH])
        for window in windows:
            says(window, {SMALL: 2 * EACH, LARGE: 2 * EACH - 1})
        made = kept(marks, 4 * EACH - 1, windows[0])

        # Learn, and give all nuclei their classes.
        own, at = tmp_path / "mine.npz", f"--server={server.grpc_url}"
        told = tsfd("adapt", result, f"--out={own}", at, *ONLY)
        assert told.startswith(f"{len(made)} marked nuclei on 1 image; 0 marks on no nucleus")
        tsfd("relabel", result, f"--classes={own}", at)
        (new,) = result.parent.glob("field-mine-*")
        table = pq.read_table(new / "nuclei.parquet").to_pandas()
        numbers = table["class"].value_counts().to_dict()
        right = sum(
            table["class"][row] == label for label, some in parts.items() for row in some.index
        )
        assert right > 0.9 * sum(map(len, parts.values()))

        # The page has the classes, and the marks.
        page = context.new_page()
        page.goto(url)
        card = page.locator("#results li", has_text=new.name)
        shares = card.locator(".shares").get_attribute("aria-label")
        assert all(f"{label} " in shares for label in COLOURS)
        page = opened(context, url, new.name)
        says(page, {SMALL: 2 * EACH, LARGE: 2 * EACH - 1})
        go(page, 300, 300, 0)
        legend = {
            row.locator("label").inner_text(): (
                int(row.locator("td").first.inner_text()),
                row.locator(".swatch").evaluate("one => one.style.getPropertyValue('--colour')"),
            )
            for row in page.locator("#classes tbody tr").all()
        }
        for label, colour in COLOURS.items():
            rgb = ",".join(str(byte) for byte in bytes.fromhex(colour[1:]))
            assert legend[label] == (numbers[label], f"rgb({rgb})")

        # What has changed is suggested, told, and shown.
        differing = page.locator("#suggested", has_text=f" in {result.name}.")

        def is_suggested() -> bool:
            page.keyboard.press("j")
            return differing.count() == 1

        until(is_suggested, 10)
        changed = result.with_name("changed")
        told = tsfd("compare", result, new, f"--out={changed}")
        was = pq.read_table(result / "nuclei.parquet").to_pandas()["class"]
        pairs = Counter(zip(was, table["class"], strict=True))
        for (before, after), times in pairs.items():
            assert (f"{times} {before} -> {after}" in told) == (before != after)
        page.goto(f"{url}/#changed")
        drawn(page)
        assert set(page.locator("#changed li").all_inner_texts()) == {
            f"{times} {before} → {after}"
            for (before, after), times in pairs.items()
            if before != after
        }
    context.close()
