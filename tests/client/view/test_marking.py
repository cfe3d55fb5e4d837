"""Marks made on the page: by clicks, regions and suggestions; kept at once, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect
from shapely import Polygon, contains_xy

from tests.client.export.run_folder import BLOCKS, finished
from tests.client.view.pages import NAME, drawn, go
from tests.client.view.test_regions import CORNERS, picture, place
from tests.client.view.test_view_server import TOKEN, get, put, serving
from training.target import CLASSES
from tsfd_client.classes.labels import spellings
from tsfd_client.classes.marks import read_marks
from tsfd_client.classes.matching import Marked, match
from tsfd_client.cli import main
from tsfd_client.files import MARKS


@pytest.fixture
def context(browser: Browser, shown: Path) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1040, "height": 900})
    yield context
    context.close()
    (shown / NAME / MARKS).unlink(missing_ok=True)


def opened(context: BrowserContext, url: str) -> Page:
    """The slide's page, a pixel of level 0 per pixel, ready to mark."""
    page = context.new_page()
    page.goto(f"{url}/?token={TOKEN}")
    page.click(f"text={NAME}")
    drawn(page)
    go(page, 300, 300, 1)
    page.click("#marking summary")
    return page


@pytest.fixture
def page(context: BrowserContext, url: str) -> Iterator[Page]:
    errors: list[str] = []
    page = opened(context, url)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert errors == []


def near(nuclei: pd.DataFrame) -> pd.DataFrame:
    """Nuclei that contain their centroids, in view and far from what lies over the map."""
    x, y = nuclei["centroid_x"], nuclei["centroid_y"]
    return nuclei[(abs(x - 300) < 200) & (abs(y - 300) < 200) & (nuclei["area_um2"] > 10)]


def click(page: Page, nucleus: pd.Series) -> None:
    page.mouse.click(*place(page, nucleus["centroid_x"], nucleus["centroid_y"]))


def counts(page: Page) -> dict[str, int]:
    """By label, as the panel says."""
    rows = page.locator("#kinds li > button:first-child").all()
    said = {row.locator(".name").inner_text(): row.locator(".count").inner_text() for row in rows}
    return {name: int(count) for name, count in said.items() if count}


def says(page: Page, expected: dict[str, int]) -> None:
    """Wait until the panel says so many marks, of these labels."""
    number = sum(expected.values())
    expect(page.locator("#marking summary .quiet")).to_have_text(f"{number} marked")
    for _ in range(50):  # marks of other windows may be replaced by as many
        if counts(page) == expected:
            return
        page.wait_for_timeout(100)
    assert counts(page) == expected


def features(shown: Path, number: int, page: Page) -> list[dict[str, Any]]:
    return kept(shown / NAME / MARKS, number, page)


def kept(path: Path, number: int, page: Page) -> list[dict[str, Any]]:
    """The marks in a file, once there are so many."""
    for _ in range(100):
        found = json.loads(path.read_text())["features"] if path.exists() else []
        if len(found) == number:
            return found
        page.wait_for_timeout(50)
    raise AssertionError(f"{len(found)} marks are kept, not {number}")


def matched(shown: Path) -> Marked:
    """The nuclei that learning takes the file to mean."""
    read = read_marks(shown / NAME / MARKS, {NAME: "made.svs"})
    assert read.problems == []
    labels = spellings([mark.label for mark in read.marks], ["neoplastic", "inflammatory"])
    return match(read.marks, shown / NAME / "nuclei.parquet", labels)


def test_clicks_mark_nuclei(page: Page, shown: Path, nuclei: pd.DataFrame) -> None:
    """With a class by its key, which stays until another is chosen; a nucleus has one mark."""
    chosen = near(nuclei).iloc[:40:8]
    page.keyboard.press("Shift+1")
    for _, nucleus in chosen.iloc[:3].iterrows():
        click(page, nucleus)
    page.keyboard.press("Shift+2")
    click(page, chosen.iloc[2])
    page.keyboard.press("x")
    click(page, chosen.iloc[3])
    says(page, {"neoplastic": 2, "inflammatory": 1, "not a nucleus": 1})
    said = features(shown, 4, page)
    assert len({feature["id"] for feature in said}) == 4
    for feature in said:
        assert feature["properties"].keys() == {"objectType", "classification", "time"}
        assert feature["properties"]["objectType"] == "annotation"
    assert said[0]["properties"]["classification"] == {
        "name": "neoplastic",
        "color": [230, 50, 30],
    }
    found = matched(shown)
    assert found.rows.tolist() == chosen.index[:3].tolist()
    assert found.labels == ["neoplastic", "neoplastic", "inflammatory"]
    assert found.not_nuclei.tolist() == [chosen.index[3]]
    assert page.is_checked("#class-1")  # the keys without Shift switch classes


def test_undo_and_removal(page: Page, shown: Path, nuclei: pd.DataFrame) -> None:
    one, other = near(nuclei).iloc[3], near(nuclei).iloc[30]
    page.keyboard.press("Shift+3")
    click(page, one)
    click(page, other)
    page.keyboard.press("Shift+4")
    click(page, one)
    says(page, {"connective": 1, "dead": 1})
    page.keyboard.press("Control+z")
    says(page, {"connective": 2})
    page.click("#undo-mark")
    says(page, {"connective": 1})
    page.keyboard.press("e")
    click(page, one)
    expect(page.locator("#marking summary .quiet")).to_have_text("")
    features(shown, 0, page)
    click(page, one)
    assert page.inner_text("#marking-told") == "There is no mark here."
    page.keyboard.press("Control+z")
    says(page, {"connective": 1})
    features(shown, 1, page)
    for _ in range(2):
        page.keyboard.press("Control+z")
    features(shown, 0, page)


def test_a_missing_nucleus_and_glass(page: Page, shown: Path, nuclei: pd.DataFrame) -> None:
    outlines = shapely.from_wkb(nuclei["geometry"].to_numpy())
    x, y = next(
        (x, y) for x in range(250, 350) for y in range(250, 350)
        if min(shapely.distance(outlines, shapely.Point(x, y))) > 6
    )  # fmt: skip
    page.keyboard.press("Shift+1")
    page.mouse.click(*place(page, x, y))
    assert page.inner_text("#marking-told") == (
        "There is no nucleus here. If one is missing, mark that: key a."
    )
    page.keyboard.press("a")
    page.mouse.click(*place(page, x, y))
    says(page, {"missing nucleus": 1})
    click(page, near(nuclei).iloc[0])
    assert page.inner_text("#marking-told") == "There is a nucleus here: mark its class."
    features(shown, 1, page)
    ((mark),) = matched(shown).missing
    assert (mark.x, mark.y) == pytest.approx((x, y), abs=1)


def test_a_region_marks_its_nuclei(page: Page, shown: Path, nuclei: pd.DataFrame) -> None:
    """But for those marked by themselves."""
    page.keyboard.press("g")
    assert page.inner_text("#marking-told") == (
        "Choose the class of the nuclei in the region first."
    )
    inside = contains_xy(Polygon(CORNERS), nuclei["centroid_x"], nuclei["centroid_y"])
    page.keyboard.press("Shift+2")
    click(page, near(nuclei[inside]).iloc[5])
    page.keyboard.press("Shift+5")
    page.keyboard.press("g")
    for corner in CORNERS:
        page.mouse.click(*place(page, *corner))
        page.wait_for_timeout(500)  # two clicks at once end it
    page.mouse.dblclick(*place(page, *CORNERS[0]))
    says(page, {"inflammatory": 1, "epithelial": int(inside.sum()) - 1})
    features(shown, 2, page)
    found = matched(shown)
    assert found.rows.tolist() == np.flatnonzero(inside).tolist()
    assert found.labels.count("inflammatory") == 1
    expect(page.locator("#region-list li")).to_have_count(0)
    page.keyboard.press("Control+z")
    says(page, {"inflammatory": 1})


def test_a_class_of_ones_own(page: Page, shown: Path, nuclei: pd.DataFrame) -> None:
    """It is there after a crash of the page, with its marks."""
    page.fill("#new-class", "Plasma  cell")
    page.locator("#new-colour").fill("#8844ee")
    page.click("#add-class button")
    page.fill("#new-class", "eosinophil")
    page.keyboard.press("Enter")
    click(page, near(nuclei).iloc[0])
    page.keyboard.press("Shift+6")
    click(page, near(nuclei).iloc[7])
    features(shown, 2, page)
    page.reload()
    drawn(page)
    says(page, {"Plasma cell": 1, "eosinophil": 1})
    page.evaluate("localStorage.clear()")  # as for another user, who finds them in the marks alone
    page.reload()
    drawn(page)
    says(page, {"Plasma cell": 1, "eosinophil": 1})
    colours = page.locator("#kinds .swatch").evaluate_all(
        "all => all.map((one) => one.style.getPropertyValue('--colour'))"
    )
    offered = ",".join(str(byte) for byte in bytes.fromhex(page.input_value("#new-colour")[1:]))
    assert f"rgb({offered})" not in colours
    said = [feature["properties"]["classification"] for feature in features(shown, 2, page)]
    assert {"name": "Plasma cell", "color": [0x88, 0x44, 0xEE]} in said
    assert sorted(matched(shown).labels) == ["Plasma cell", "eosinophil"]


def test_what_is_no_class_cannot_be_typed(page: Page) -> None:
    before = page.locator("#kinds li").count()
    page.fill("#new-class", " Background")
    page.click("#add-class button")
    expect(page.locator("#marking-told")).to_have_text(
        "“Background” is what is around nuclei, no class of them: use “not a nucleus”, or another "
        "name."
    )
    assert page.locator("#kinds li").count() == before


def test_marks_are_seen(page: Page, nuclei: pd.DataFrame) -> None:
    """As rings with white edges, until they are removed."""
    nucleus = near(nuclei).iloc[20]
    before = picture(page)
    page.keyboard.press("Shift+2")
    page.evaluate("document.body.dataset.state = ''")
    click(page, nucleus)
    drawn(page)
    after = picture(page)
    changed = np.abs(after.astype(int) - before).max(axis=2) > 40
    rows, columns = np.nonzero(changed)
    box = page.locator("#map").bounding_box()
    x, y = place(page, nucleus["centroid_x"], nucleus["centroid_y"])
    assert (columns.mean() + 10, rows.mean() + 10) == pytest.approx(
        (x - box["x"], y - box["y"]), abs=3
    )
    colours = after[changed].astype(int)
    assert (np.abs(colours - [255, 114, 0]).max(axis=1) < 40).any()  # blue, green, red
    assert (colours.min(axis=1) > 230).any()


def test_two_windows_lose_nothing(
    page: Page, context: BrowserContext, url: str, shown: Path, nuclei: pd.DataFrame
) -> None:
    other = opened(context, url)
    chosen = near(nuclei).iloc[:60:5]
    for at, key in ((page, "Shift+1"), (other, "Shift+2")):
        at.bring_to_front()
        at.keyboard.press(key)
    for number, (_, nucleus) in enumerate(chosen.iterrows()):
        click((page, other)[number % 2], nucleus)
    features(shown, len(chosen), page)
    for at in (page, other):
        says(at, {"neoplastic": 6, "inflammatory": 6})
    page.keyboard.press("Control+z")
    for at in (page, other):
        says(at, {"neoplastic": 5, "inflammatory": 6})


def test_suggestions_are_marked_by_one_key_each(
    page: Page, shown: Path, nuclei: pd.DataFrame
) -> None:
    page.keyboard.press("j")
    suggested = []
    for key in ("Shift+1", "Shift+2", "y", "x", "j", "Shift+1"):
        expect(page.locator("#suggested")).to_contain_text(": ")
        suggested.append(int(page.inner_text("#figures dd >> nth=0")) - 1)
        assert page.inner_text("#suggested").startswith(f"Nucleus {suggested[-1] + 1:,}: ")
        page.keyboard.press(key)
    assert len(set(suggested)) == 6
    assert nuclei["class_prob"][suggested[0]] < nuclei["class_prob"].quantile(0.05)
    assert "unlike" not in page.inner_text("#suggested")
    spread = nuclei.loc[suggested, ["centroid_x", "centroid_y"]]
    assert (np.ptp(spread, axis=0) > 300).all()
    features(shown, 5, page)
    found = matched(shown)
    labels = dict(zip(found.rows.tolist(), found.labels, strict=True))
    assert labels == {
        suggested[0]: "neoplastic",
        suggested[1]: "inflammatory",
        suggested[2]: nuclei["class"][suggested[2]],
        suggested[5]: "neoplastic",
    }
    assert found.not_nuclei.tolist() == [suggested[3]]
    page.keyboard.press("Control+z")
    assert page.inner_text("#figures dd >> nth=0") == str(suggested[5] + 1)
    page.keyboard.press("Escape")
    expect(page.locator("#suggested")).to_be_hidden()


def test_where_two_results_differ_is_suggested(context: BrowserContext, tmp_path: Path) -> None:
    """With the classes of the results; the marks lie beside the comparison."""
    results = tmp_path / "first", tmp_path / "second"
    blocks = [BLOCKS, [[nucleus for nucleus in block if nucleus.x % 3] for block in BLOCKS]]
    for folder, nuclei in zip(results, blocks, strict=True):
        folder.mkdir()
        finished(folder, 1.0, nuclei)
    assert main(["compare", *map(str, results), "--out", str(tmp_path / "differs")]) == 0
    differ = pq.read_table(tmp_path / "differs/nuclei.parquet")
    page = context.new_page()
    with serving(tmp_path / "differs") as url:
        page.goto(f"{url}/?token={TOKEN}#differs")
        drawn(page)
        page.click("#marking summary")
        named = page.locator("#kinds .name").all_text_contents()
        assert named[:6] == [*CLASSES[1:], "not a nucleus"]
        page.keyboard.press("j")
        expect(page.locator("#suggested")).to_contain_text(" → none.")
        expect(page.locator("#agree")).to_be_hidden()
        for _ in range(len(differ)):
            page.keyboard.press("Shift+5")
        expect(page.locator("#marking-told")).to_have_text("All nuclei are marked.")
        says(page, {"epithelial": len(differ)})
        kept(tmp_path / "differs" / MARKS, len(differ), page)
        page.close()
    read = read_marks(tmp_path / "differs" / MARKS, {"first": "made.svs"})
    assert [mark.slide for mark in read.marks] == ["first"] * len(differ)


def test_what_is_exported_and_what_lies_beside_the_result(
    context: BrowserContext, url: str, shown: Path, nuclei: pd.DataFrame, tmp_path: Path
) -> None:
    """QuPath's own annotations are marks as well; each of its points can be removed."""
    first, second, third = (
        nucleus[["centroid_x", "centroid_y"]].tolist()
        for _, nucleus in near(nuclei).iloc[[0, 9, 20]].iterrows()
    )
    said = {"objectType": "annotation", "classification": {"name": "Neoplastic"}}
    geometries = [{"type": "MultiPoint", "coordinates": [first, second]}]
    geometries += [{"type": "Point", "coordinates": third}]
    (shown / NAME / MARKS).write_text(
        json.dumps([{"type": "Feature", "geometry": g, "properties": said} for g in geometries])
    )
    page = opened(context, url)
    says(page, {"neoplastic": 3})
    page.keyboard.press("e")
    click(page, near(nuclei).iloc[9])
    page.keyboard.press("Shift+2")
    click(page, near(nuclei).iloc[20])
    says(page, {"neoplastic": 1, "inflammatory": 1})
    features(shown, 2, page)
    with page.expect_download() as download:
        page.click("#save-marks")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    read = read_marks(path, {"another": "x.svs", NAME: "made.svs"})
    assert {(mark.slide, mark.label) for mark in read.marks} == {
        (NAME, "Neoplastic"),
        (NAME, "inflammatory"),
    }


def test_what_the_server_refuses(shown: Path) -> None:
    path = shown / NAME / MARKS
    name = NAME.replace(" ", "%20").replace("&", "%26")
    point = {"type": "Point", "coordinates": [1, 2]}
    mark = {
        "type": "Feature",
        "id": "1",
        "geometry": point,
        "properties": {"classification": {"name": "a"}},
    }

    def sent(**changed: Any) -> bytes:
        return json.dumps({"add": [mark | changed], "remove": []}).encode()

    with serving(shown) as url:
        address = f"{url}/data/{name}/{MARKS}"
        assert json.loads(get(address)[1])["features"] == []
        told = (409, b"These are no marks: points and polygons with a class each.")
        for wrong in (
            b"",
            b"[]",
            sent(id=None),
            sent(properties={}),
            sent(geometry={"type": "LineString", "coordinates": [[0, 0], [1, 1]]}),
            sent(geometry={"type": "Point", "coordinates": [1, None]}),
        ):
            assert put(address, wrong, method="POST") == told
        assert put(address, b" " * 4_000_001, method="POST") == (
            409,
            b"The marks are larger than 4 MB.",
        )
        assert put(address, sent(), method="POST", Cookie="")[0] == 403
        assert not path.exists()
        assert put(address, sent(), method="POST") == (204, b"")
        assert json.loads(get(address)[1])["features"] == [mark]
        path.write_text("damaged")
        told = (409, f"{path} is not GeoJSON. Repair or remove the file, then reload.".encode())
        assert get(address) == told
        assert put(address, sent(), method="POST") == told
    assert path.read_text() == "damaged"
    path.unlink()


def test_a_mark_that_cannot_be_kept_is_not_shown(
    page: Page, shown: Path, nuclei: pd.DataFrame
) -> None:
    page.keyboard.press("Shift+1")
    click(page, near(nuclei).iloc[0])
    features(shown, 1, page)
    (shown / NAME / MARKS).write_text("damaged")
    click(page, near(nuclei).iloc[9])
    expect(page.locator("#marking-told")).to_have_text(
        f"Not saved: {shown / NAME / MARKS} is not GeoJSON. Repair or remove the file, then reload."
    )
    says(page, {"neoplastic": 1})


def test_marks_of_read_only_results_are_kept_in_the_browser(
    context: BrowserContext, read_only_address: str, nuclei: pd.DataFrame
) -> None:
    page = context.new_page()
    page.goto(read_only_address)
    page.click(f"text={NAME}")
    drawn(page)
    go(page, 300, 300, 1)
    page.click("#marking summary")
    assert page.inner_text("#marks-kept") == (
        "Marks are kept in this browser and for this address alone: export them to keep them."
    )
    page.keyboard.press("Shift+1")
    click(page, near(nuclei).iloc[0])
    click(page, near(nuclei).iloc[9])
    says(page, {"neoplastic": 2})
    page.keyboard.press("Control+z")
    page.reload()
    drawn(page)
    says(page, {"neoplastic": 1})
    # What other programs have damaged counts as nothing.
    page.evaluate("for (const key of Object.keys(localStorage)) localStorage[key] = '{'")
    page.reload()
    drawn(page)
    left, problem = counts(page), page.is_visible("#problem")
    assert (left, problem) == ({}, False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_section_can_be_used_by_all(page: Page, nuclei: pd.DataFrame, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.fill("#new-class", "plasma cell")
    page.click("#add-class button")
    click(page, near(nuclei).iloc[0])
    says(page, {"plasma cell": 1})
    found = [Axe().run(page)]
    page.keyboard.press("j")
    found.append(Axe().run(page))
    assert [
        (v["id"], [n["target"] for n in v["nodes"]])
        for f in found
        for v in f.response["violations"]
    ] == []
    page.keyboard.press("?")
    assert "Shift+1 … 9" in page.inner_text("#shortcuts")
