"""Two results of one image: what matches, the table, and the page's layer, against label images."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, expect

from tests.client.export.run_folder import NUCLEI, SIDE, finished
from tests.client.view.pages import drawn
from tests.client.view.test_view_server import TOKEN, serving
from tests.client.view.two_results import altered, expected
from training.target import CLASSES, PANNUKE
from tsfd_client.cli import main
from tsfd_client.pixels.origin import Origin
from tsfd_client.view.compare import match
from tsfd_client.view.results import Result


def test_what_matches(two_results: tuple[Path, Path]) -> None:
    partners = expected()
    assert 20 < len(partners) < len(altered()) < len(NUCLEI)
    a, b = two_results
    assert dict(match(a / "nuclei.parquet", b / "nuclei.parquet").tolist()) == partners


def test_the_table(two_results: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, two_results)]) == 0
    a, b, _, head, *rows, _, changed = capsys.readouterr().out.splitlines()
    assert (a, b) == (f"A: {two_results[0]}", f"B: {two_results[1]}")
    assert head.split() == ["class", "A", "B", "both", "only", "A", "only", "B"]
    partners, nuclei = expected(), altered()
    pairs = [
        (NUCLEI[a - 1].nucleus_class, nuclei[b - 1].nucleus_class) for a, b in partners.items()
    ]
    for number, row in enumerate(rows, 1):
        first = [i for i, n in enumerate(NUCLEI, 1) if n.nucleus_class == number]
        second = [i for i, n in enumerate(nuclei, 1) if n.nucleus_class == number]
        assert row.split() == [
            CLASSES[number],
            str(len(first)),
            str(len(second)),
            str(pairs.count((number, number))),
            str(sum(i not in partners for i in first)),
            str(sum(i not in partners.values() for i in second)),
        ]
    was, now = next((was, now) for was, now in pairs if was != now)
    assert f"{pairs.count((was, now))} {CLASSES[was]} -> {CLASSES[now]}" in changed


def test_a_result_of_what_differs(two_results: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "differs"
    for _ in range(2):  # what is there may be replaced
        assert main(["compare", *map(str, two_results), "--out", str(out)]) == 0
    partners, nuclei = expected(), altered()
    named = pq.read_table(out / "nuclei.parquet")["class"].to_pylist()
    assert named.count("only in A") == len(NUCLEI) - len(partners)
    assert named.count("only in B") == len(nuclei) - len(partners)
    assert named.count("of another class") == sum(
        NUCLEI[a - 1].nucleus_class != nuclei[b - 1].nucleus_class for a, b in partners.items()
    )
    view = Result(out).view()
    kinds = [kind["name"] for kind in view["classes"]]
    assert kinds == ["only in A", "only in B", "of another class"]
    points = np.frombuffer(Result(out).file("nuclei.bin").read_bytes(), np.uint8)
    numbers = points[10 * len(named) : 11 * len(named)]
    assert np.bincount(numbers).tolist() == [0, *map(named.count, kinds)]
    table = np.array(json.loads((out / "comparison.json").read_text())["changes"])
    assert table[1:].sum() == len(NUCLEI)
    colours = {kind.name: [*kind.colour] for kind in PANNUKE.classes}
    compared = view["comparison"]
    assert dict(zip(compared["classes"], compared["colours"], strict=True)) == {
        "background": None,
        **colours,
    }


def changes() -> list[str]:
    """Of each nucleus that differs its class in A and in B: those of A first."""
    partners, nuclei = expected(), altered()
    found = []
    for number, nucleus in enumerate(NUCLEI, 1):
        other = partners.get(number)
        now = nuclei[other - 1].nucleus_class if other else None
        if now != nucleus.nucleus_class:
            found.append(f"{CLASSES[nucleus.nucleus_class]} → {CLASSES[now] if now else 'none'}")
    new = [n for i, n in enumerate(nuclei, 1) if i not in partners.values()]
    return found + [f"none → {CLASSES[n.nucleus_class]}" for n in new]


def test_densities_are_per_mm2_of_the_tissue_of_both(
    two_results: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "differs"
    half = [[0, 0], [SIDE / 2, 0], [SIDE / 2, SIDE], [0, SIDE], [0, 0]]
    tissue = json.dumps({"type": "Polygon", "coordinates": [half]})
    shares = []
    for texts in ((tissue, tissue), (tissue, tissue.replace("0.0", "9.0")), (tissue, None)):
        for folder, text in zip(two_results, texts, strict=True):
            (folder / "tissue.geojson").unlink(missing_ok=True)
            if text:
                (folder / "tissue.geojson").write_text(text)
        assert main(["compare", *map(str, two_results), "--out", str(out)]) == 0
        shares.append(Result(out).view()["mm2"] / (SIDE * 0.25e-3) ** 2)
    assert shares == pytest.approx([0.6, 1, 1])  # 6 of the mask's 10 columns are touched


def test_what_cannot_be_compared(
    two_results: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = map(str, two_results)
    differs = str(tmp_path / "differs")
    assert main(["compare", a, b, "--out", differs]) == 0
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    finished(tmp_path / "other", 1.0)
    Origin("other.svs", "of another slide", 0.25).write(tmp_path / "other")
    (tmp_path / "larger").mkdir()
    finished(tmp_path / "larger", 1.0, side=SIDE + 1)
    for arguments, says in (
        ([a, str(tmp_path / "nowhere")], f"There is no folder {tmp_path}/nowhere."),
        ([a, str(tmp_path / "empty")], f"{tmp_path}/empty is not the folder of a result."),
        (
            [a, str(tmp_path / "other")],
            f"{a} and {tmp_path}/other are not results of the same image at the same scale.",
        ),
        ([a, str(tmp_path / "larger")], "are not results of the same image at the same scale."),
        ([a, differs], f"{differs} is a comparison itself."),
        ([a, b, "--out", a], f"{a} contains something else: choose another folder."),
    ):
        assert main(["compare", *arguments]) == 1
        assert says in capsys.readouterr().err


def test_the_page_steps_from_difference_to_difference(
    browser: Browser, two_results: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "differs"
    assert main(["compare", *map(str, two_results), "--out", str(out)]) == 0
    nuclei = pq.read_table(out / "nuclei.parquet").to_pandas()
    page = browser.new_page(viewport={"width": 1040, "height": 700})
    with serving(out) as url:
        page.goto(f"{url}/?token={TOKEN}#differs")
        drawn(page)
        expect(page.locator("#of")).to_have_text(str(len(nuclei)))
        assert f"A: {two_results[0]}" in page.inner_text("#comparison")
        table = json.loads((out / "comparison.json").read_text())["changes"]
        for number, name in enumerate(CLASSES[1:], 1):
            row = page.locator("#compared tbody tr").nth(number - 1).locator("th, td")
            numbers = sum(table[number]), sum(row[number] for row in table), table[number][number]
            only = table[number][0], table[0][number]
            assert row.all_text_contents() == [name, *map(str, (*numbers, *only))]
        pairs = Counter(c for c in changes() if "none" not in c)
        assert set(page.locator("#changed li").all_inner_texts()) == {
            f"{times} {pair}" for pair, times in pairs.items()
        }
        assert len(changes()) == len(nuclei)
        for row, change in zip(nuclei.index, changes(), strict=True):
            page.keyboard.press("n")
            told = page.inner_text("#figures")
            assert nuclei["class"][row] in told
            assert change in told
            x, y = nuclei["centroid_x"][row], nuclei["centroid_y"][row]
            assert f"/{x:.1f}/{y:.1f}/" in page.url
        page.keyboard.press("p")
        assert page.input_value("#nth") == str(len(nuclei) - 1)
    page.close()
