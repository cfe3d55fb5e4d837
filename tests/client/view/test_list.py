"""The list of results: what it says of each, sorted, filtered and searched, a thousand at once."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.client.export.run_folder import NUCLEI, finished
from tests.client.view.test_view_server import TOKEN, get, serving
from training.target import CLASSES
from tsfd_client.view.results import find

MANY = 1000
SPARSE = "There are only 70 nuclei per mm² of tissue; even 200 would be few."


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand results that share one table; some have a warning, another release, or no end."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "first").mkdir()
    first = finished(folder / "first", 1.0)
    for number in range(MANY):
        result = folder / "results" / f"slide {number}"
        result.mkdir(parents=True)
        os.link(first / "nuclei.parquet", result / "nuclei.parquet")
        (result / "summary.json").write_text(json.dumps(summary(number)))
        (result / "DONE").touch()
    for name in ("slide 3", "slide 4"):
        for file in ("DONE", "summary.json", "nuclei.parquet"):
            (folder / "results" / name / file).unlink()
        (folder / "results" / name / "events.jsonl").touch()
    (folder / "results/slide 3/events.jsonl").write_text(
        '{"time": 1, "event": "begun", "tiles": 4, "tiles_done": 0}\n'
        '{"time": 2, "event": "failed", "error": "The slide is cut off."}\n'
    )
    return folder / "results"


def summary(number: int) -> dict:
    return {
        "segmented_mm2": 0.5 + number,
        "classes": {name: {"nuclei": place} for place, name in enumerate(CLASSES[1:], 1)},
        "remarks": ["It is blurred."] if number == 12 else [],
        "scale_warning": SPARSE if number in (12, 40) else None,
    }


def entries(url: str) -> dict[str, dict]:
    listed = json.loads(get(f"{url}/data/results.json")[1])["results"]
    return {entry["name"]: entry for entry in listed}


def test_what_it_says_of_each(many: Path) -> None:
    with serving(many) as url:
        listed = entries(url)
    assert len(listed) == MANY
    known = listed["slide 12"]
    assert (known["state"], known["image"]) == ("done", "made.svs")
    assert (known["nuclei"], known["mm2"]) == (len(NUCLEI), 12.5)
    shares = [(kind["name"], kind["nuclei"]) for kind in known["classes"]]
    assert shares == [(name, place) for place, name in enumerate(CLASSES[1:], 1)]
    assert known["warnings"] == ["It is blurred.", SPARSE]
    assert listed["slide 3"] == {
        "name": "slide 3",
        "state": "failed",
        "problem": "slide 3 is not finished: it is failed (The slide is cut off.).",
    }
    assert listed["slide 4"]["state"] == "stopped"


def test_tables_are_read_again_only_if_they_have_changed(many: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    shutil.copytree(many / "slide 12", folder / "known")
    table = folder / "known/nuclei.parquet"
    (result,) = find(folder)
    before, time = result.entry(), table.stat().st_mtime_ns
    table.write_bytes(b"nothing")
    os.utime(table, ns=(time, time))
    assert result.entry() == before
    os.utime(table)
    assert result.entry()["state"] == "damaged"


def test_a_thousand_are_sorted_filtered_and_searched(browser: Browser, many: Path) -> None:
    page = browser.new_page(viewport={"width": 1000, "height": 700})
    pictures: list[str] = []
    page.on("request", lambda request: pictures.append(request.url))
    with serving(many) as url:
        page.goto(f"{url}/?token={TOKEN}")
        found = page.locator("#found")
        expect(found).to_have_text("1,000 results", timeout=30_000)
        assert names(page)[:4] == ["slide 0", "slide 1", "slide 2", "slide 3"]
        assert sum("thumbnail" in url for url in pictures) < 100
        card = page.locator("#results li").nth(12)
        share = 1 / (1 + 2 + 3 + 4 + 5)
        assert (
            card.locator(".shares")
            .get_attribute("aria-label")
            .startswith(f"{CLASSES[1]} {100 * share:.0f} %, ")
        )
        assert card.locator(".problem").all_text_contents() == ["⚠ It is blurred.", f"⚠ {SPARSE}"]
        page.select_option("#sort", "area")
        assert names(page)[:2] == ["slide 999", "slide 998"]
        page.fill("#search", "MADE 99")
        expect(found).to_have_text("19 of 1,000 results")
        page.fill("#search", "")
        page.check("#warned")
        assert names(page) == ["slide 40", "slide 12", "slide 3", "slide 4"]
        page.uncheck("#warned")
        page.select_option("#state", "failed")
        assert names(page) == ["slide 3"]
        page.click("#results a")
        expect(page.locator("#problem")).to_have_text(
            "slide 3 is not finished: it is failed (The slide is cut off.)."
        )
        assert page.locator("#classes").is_hidden()
        page.click("#back")
        page.wait_for_selector("#results a")
        assert names(page) == ["slide 3"]
    page.close()


def names(page: Page) -> list[str]:
    return page.locator("#results b").all_text_contents()
