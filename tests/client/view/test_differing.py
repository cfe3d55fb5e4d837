"""Of two results of an image, the page of each suggests what they disagree on."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
from playwright.sync_api import Browser, expect

from tests.client.export.run_folder import NUCLEI, finished
from tests.client.view.pages import drawn
from tests.client.view.test_view_server import TOKEN, get, serving
from tests.client.view.two_results import altered, expected
from training.target import CLASSES

Changes = dict[tuple[str, str | None], list[int]]


def changes() -> Changes:
    """Rows of the first result, by their class there and in the second."""
    partners, nuclei, found = expected(), altered(), defaultdict(list)
    for row, nucleus in enumerate(NUCLEI):
        other = partners.get(row + 1)
        now = nuclei[other - 1].nucleus_class if other else None
        if now != nucleus.nucleus_class:
            found[CLASSES[nucleus.nucleus_class], now and CLASSES[now]].append(row)
    return dict(found)


def answered(url: str) -> tuple[str, Changes]:
    """What the first result's page is told: the other result's name, and the changes."""
    status, content = get(f"{url}/data/first/differing.json")
    assert status == 200
    said = json.loads(content)
    numbers = [len(change["rows"]) for change in said["changes"]]
    assert numbers == sorted(numbers)
    return said["other"], {
        (CLASSES[NUCLEI[change["rows"][0]].nucleus_class], change["class"]): change["rows"]
        for change in said["changes"]
    }


def test_what_differs(two_results: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = two_results
    with serving(tmp_path) as url:
        view = json.loads(get(f"{url}/data/first/view.json")[1])
        assert view["other"] == "second"
        assert answered(url) == ("second", changes())
        for kept in (first / "web").glob("differing*"):
            kept.write_text("{")
        assert answered(url) == ("second", changes())
        # It follows the other result, and takes the newest.
        shutil.copyfile(first / "nuclei.parquet", second / "nuclei.parquet")
        assert answered(url) == ("second", {})
        (tmp_path / "third").mkdir()
        finished(tmp_path / "third", 1.0, content="of another slide")
        assert answered(url) == ("second", {})
        finished(tmp_path / "third", 1.0, [altered()])
        os.utime(tmp_path / "third/nuclei.parquet", (2e9, 2e9))
        assert answered(url)[0] == "third"
    with serving(first) as url:
        assert json.loads(get(f"{url}/data/first/view.json")[1])["other"] is None
        assert get(f"{url}/data/first/differing.json") == (
            404,
            b"There is no other result of this image.",
        )


def test_it_is_suggested(browser: Browser, two_results: tuple[Path, Path], tmp_path: Path) -> None:
    """Each third time, a change of each kind by turns; none that is marked."""
    classes = pq.read_table(two_results[0] / "nuclei.parquet")["class"].to_pylist()
    page = browser.new_page(viewport={"width": 1040, "height": 900})
    with serving(tmp_path) as url:
        page.goto(f"{url}/?token={TOKEN}#first")
        drawn(page)
        page.click("#marking summary")
        with page.expect_response("**/differing.json"):
            page.keyboard.press("j")
        told = []
        for _ in range(3 * len(changes())):
            page.keyboard.press("j")
            expect(page.locator("#suggested")).to_contain_text("Nucleus")
            row = int(page.inner_text("#figures dd >> nth=0")) - 1
            told.append((row, page.inner_text("#suggested")))
        differ = [(row, text) for row, text in told if "in second" in text]
        for row, text in differ:
            there = next(there for (_, there), rows in changes().items() if row in rows)
            assert f": {classes[row]} here, {there or 'no nucleus'} in second." in text
        kinds = [kind for row, _ in differ for kind, rows in changes().items() if row in rows]
        assert len(kinds) >= len(changes()) - 1
        assert len({row for row, _ in told}) == len(told)
        assert len(set(kinds)) >= 0.8 * len(changes())
    page.close()


def test_what_others_have_marked_is_not_suggested(
    browser: Browser, two_results: tuple[Path, Path], tmp_path: Path
) -> None:
    table = pq.read_table(two_results[0] / "nuclei.parquet").to_pandas()
    left = {3, 30, len(table) - 1}
    page = browser.new_page(viewport={"width": 1040, "height": 900})
    with serving(tmp_path) as url:
        page.goto(f"{url}/?token={TOKEN}#first")
        drawn(page)
        page.click("#marking summary")
        page.keyboard.press("j")
        first = int(page.inner_text("#figures dd >> nth=0")) - 1
        features = [
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [row.centroid_x, row.centroid_y]},
                "properties": {"classification": {"name": "dead"}},
            }
            for row in table.itertuples()
            if row.Index not in left
        ]
        (two_results[0] / "annotations.geojson").write_text(json.dumps(features))
        expect(page.locator("#marking summary .quiet")).to_have_text(f"{len(features)} marked")
        suggested = set()
        for _ in left - {first}:
            page.keyboard.press("j")
            suggested.add(int(page.inner_text("#figures dd >> nth=0")) - 1)
        assert suggested == left - {first}
        page.keyboard.press("j")
        expect(page.locator("#marking-told")).to_have_text("All nuclei are marked.")
    page.close()
