"""Links that make no sense, files that other programs have written, and very many classes."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.client import made
from tests.client.view.pages import NAME, drawn
from tests.client.view.test_marking import click, features, near, opened, says
from tests.client.view.test_view_server import TOKEN, serving
from tsfd_client.files import MARKS
from tsfd_client.nuclei.table import Writer, from_nuclei
from tsfd_client.pixels.tissue import FILE as TISSUE
from tsfd_client.release import NucleusClass

MANY = 40
SQUARES = 12


@pytest.fixture
def page(browser: Browser, shown: Path) -> Iterator[Page]:
    errors: list[str] = []
    context = browser.new_context(viewport={"width": 1040, "height": 900})
    context.on("weberror", lambda error: errors.append(str(error.error)))
    yield context.new_page()
    context.close()
    (shown / NAME / MARKS).unlink(missing_ok=True)
    (shown / NAME / TISSUE).unlink(missing_ok=True)
    assert errors == []


@pytest.mark.parametrize(
    ("link", "becomes"),
    [
        ("300/300/500", "300.0/300.0/5.000"),
        ("300/300/-50", "300.0/300.0/-6.000"),
        ("1e308/-1e308/1", "1440.0/-720.0/1.000"),
        ("300/300/1/nucleus=-4", "300.0/300.0/1.000"),
        ("300/300/1/nucleus=1.5", "300.0/300.0/1.000"),
        ("300/300/1/ruler=1,2,3,x", "300.0/300.0/1.000"),
        ("300/300/1/ruler=1e300,2,3,4", "300.0/300.0/1.000"),
        ("300/300/1/turned=Infinity", "300.0/300.0/1.000"),
        ("300/300/1/order=none&density-of=77", "300.0/300.0/1.000"),
    ],
)
def test_a_link_that_makes_no_sense_shows_the_slide(
    page: Page, url: str, link: str, becomes: str
) -> None:
    page.goto(f"{url}/?token={TOKEN}")
    page.goto(f"{url}/#{urllib.parse.quote(NAME)}/{link}")
    drawn(page)
    assert page.url.partition("/#")[2].partition("/")[2] == becomes
    assert page.is_hidden("#problem")


def mark(x: object, said: object, **more: object) -> dict[str, object]:
    place = {"type": "Point", "coordinates": [x, 300]}
    return {"type": "Feature", "geometry": place, "properties": {"classification": said}, **more}


def test_marks_of_other_programs_are_shown_and_removed(
    page: Page, url: str, shown: Path, nuclei: pd.DataFrame
) -> None:
    turns = np.linspace(0, 2 * np.pi, 200_001)
    brush = np.stack([300 + 80 * np.cos(turns), 300 + 80 * np.sin(turns)], 1)
    inside = np.hypot(nuclei["centroid_x"] - 300, nuclei["centroid_y"] - 300) < 79.9
    region = {"type": "Polygon", "coordinates": [[*brush[:-1].tolist(), brush[0].tolist()]]}
    written = [
        mark(500, {"name": "red", "color": "red"}),
        mark(520, {"name": "short", "color": [1]}),
        mark(540, "text"),
        mark(560, {"name": 5}, id=7),
        mark("x", {"name": "nowhere"}),
        mark(0, {"name": "region"}) | {"geometry": region},
    ]
    (shown / NAME / MARKS).write_text(
        json.dumps({"type": "FeatureCollection", "features": written})
    )
    page = opened(page.context, url)
    assert page.is_hidden("#problem")
    expect(page.locator("#kinds .name")).to_contain_text(["red", "short", "text", "5", "region"])
    row = page.locator("#kinds li", has_text="region").locator(".count")
    assert abs(int(row.inner_text()) - inside.sum()) <= 1
    page.keyboard.press("e")
    box = page.locator("#map").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2 + 260, box["y"] + box["height"] / 2)
    assert "7" not in [one["id"] for one in features(shown, 5, page)]


def test_a_damaged_outline_of_tissue_counts_as_none(page: Page, url: str, shown: Path) -> None:
    (shown / NAME / TISSUE).write_text('{"features": [{"geometry": null}]}')
    page.goto(f"{url}/?token={TOKEN}")
    page.click(f"text={NAME}")
    drawn(page)
    assert page.is_hidden("#problem")


def test_what_two_windows_mark_at_once_has_one_mark(
    page: Page, url: str, shown: Path, nuclei: pd.DataFrame
) -> None:
    first, second = opened(page.context, url), opened(page.context, url)
    first.keyboard.press("Shift+1")
    second.keyboard.press("Shift+2")
    nucleus = near(nuclei).iloc[0]
    click(first, nucleus)
    says(first, {"neoplastic": 1})
    features(shown, 1, first)
    click(second, nucleus)
    for window in (first, second):
        says(window, {"inflammatory": 1})
    features(shown, 1, first)


def test_changes_that_were_not_kept_leave_no_trace(
    page: Page, url: str, shown: Path, nuclei: pd.DataFrame
) -> None:
    page = opened(page.context, url)
    nucleus = near(nuclei).iloc[0]
    page.keyboard.press("Shift+1")
    click(page, nucleus)
    features(shown, 1, page)
    page.route("**/annotations.geojson", lambda route: route.abort())
    for key in ("Shift+2", "Shift+3"):
        page.keyboard.press(key)
        click(page, nucleus)
    says(page, {"neoplastic": 1})
    page.unroute("**/annotations.geojson")
    page.wait_for_timeout(2500)
    says(page, {"neoplastic": 1})


def test_forty_classes(page: Page, tmp_path: Path) -> None:
    """With names that are markup, run from right to left, or are long."""
    names = ["<b>dead</b>", "تعفن", "💀", "long " * 30, "constructor"]
    names += [f"class {number}" for number in range(len(names), MANY)]
    rng = np.random.default_rng(0)
    classes = tuple(NucleusClass(name, tuple(rng.integers(0, 256, 3).tolist())) for name in names)
    about = made.info(1.0, SQUARES * made.PITCH)
    about = replace(about, release=replace(about.release, classes=classes))
    release = replace(made.ANY_SIZE, classes=classes)
    run = tmp_path / "many"
    run.mkdir()
    with Writer(run / "nuclei.parquet", about) as writer:
        for block in made.field(SQUARES):
            changed = [replace(one, nucleus_class=int(rng.integers(1, MANY + 1))) for one in block]
            writer.write(from_nuclei(changed, scale=1.0, mpp=about.mpp, release=release))
    (run / "DONE").touch()
    total = pq.read_metadata(run / "nuclei.parquet").num_rows
    with serving(tmp_path) as url:
        page.goto(f"{url}/?token={TOKEN}")
        page.click("text=many")
        drawn(page)
        assert page.inner_text("#count") == str(total)
        shown = page.locator("#classes tbody label").all_text_contents()
        assert [text.strip() for text in shown] == [name.strip() for name in names]
        panel = page.locator("#panel")
        assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth")
        page.goto("about:blank")
