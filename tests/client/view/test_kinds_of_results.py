"""What lies beside a result does not make it another; what is damaged is named."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.export.run_folder import NUCLEI, finished
from tsfd_client.cli import main


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two results of one slide, whose nuclei have been exported as GeoJSON beside them."""
    folder = tmp_path / "results"
    for name in ("first", "second"):
        (folder / name).mkdir(parents=True)
        finished(folder / name, 1.0)
        assert main(["export", str(folder / name), "--to", "geojson"]) == 0
    return folder


def test_the_page_lists_a_slide_with_an_export_in_its_folder(results: Path) -> None:
    command = [sys.executable, "-m", "tsfd_client.cli", "view", results, "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().split()[-1]
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        opener.open(url).close()
        with opener.open(f"{url.partition('?')[0]}data/results.json") as answer:
            listed = json.load(answer)["results"]
        process.terminate()
    assert [(one["name"], one.get("nuclei")) for one in listed] == [
        ("first", len(NUCLEI)),
        ("second", len(NUCLEI)),
    ]


def test_slides_with_exports_in_their_folders_are_compared(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["compare", str(results / "first"), str(results / "second")]) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("Other classes: none\n")
    assert printed.err == ""


def test_a_site_has_a_slide_with_an_export_in_its_folder(results: Path) -> None:
    assert main(["export", str(results), "--to", "site"]) == 0
    listed = json.loads((results / "site/data/results.json").read_text())["results"]
    assert [one["name"] for one in listed] == ["first", "second"]


def test_a_site_without_a_result_says_which(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is damaged, and one that is not finished."""
    cut_off(results / "second")
    (results / "third").mkdir()
    (results / "third/events.jsonl").touch()
    capsys.readouterr()
    assert main(["export", str(results), "--to", "site"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"tsfd: {results}/site was written without these results. {results}/second is damaged: "
        "remove it and run `tsfd segment` again. third is not finished: it is stopped. "
        "Run the same command again: it goes on."
    )
    listed = json.loads((results / "site/data/results.json").read_text())["results"]
    assert [one["name"] for one in listed] == ["first"]


def cut_off(folder: Path) -> None:
    path = folder / "nuclei.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def spoil(folder: Path) -> None:
    """Leave the end, which says where things are."""
    path = folder / "nuclei.parquet"
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 4] = bytes(len(content) // 4 - 4)
    path.write_bytes(content)


def lose(folder: Path) -> None:
    (folder / "nuclei.parquet").unlink()


@pytest.mark.parametrize("damage", [cut_off, spoil, lose])
def test_a_damaged_result_is_not_compared(
    results: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    damage(results / "second")
    capsys.readouterr()
    assert main(["compare", str(results / "first"), str(results / "second")]) == 1
    assert capsys.readouterr().err == (
        f"tsfd: {results}/second is damaged: remove it and run `tsfd segment` again.\n"
    )


def test_a_damaged_result_is_not_exported(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(results / "second")
    capsys.readouterr()
    assert main(["export", str(results / "second"), "--to", "csv"]) == 1
    assert capsys.readouterr().err == (
        f"tsfd: {results}/second is damaged: remove it and run `tsfd segment` again.\n"
    )
