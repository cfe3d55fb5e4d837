"""Files and folders whatever they are called: segmented and shown, or refused in one line."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import cv2
import pytest

from samples.synthetic import generate
from serving.server import TritonServer
from tests.client.commands import TSFD
from tests.client.export.run_folder import finished
from tests.client.view.test_view_server import get, serving
from tsfd_client import open_result
from tsfd_client.cli import main
from tsfd_client.export import FORMATS
from tsfd_client.names import shown
from tsfd_client.slides.many import folders_of

FOLDERS = {
    b"caf\xe9.png": r"caf\xe9",
    b"new\nline.png": r"new\nline",
    b"tab\t.png": r"tab\t",
    "\u2028.png".encode(): r"\u2028",
    b"50%25 off.png": "50%25 off",
    b"%2e%2e.png": "%2e%2e",
    b"a#b?c.png": "a#b?c",
    b"a&b<c>;\"d'.png": "a&b<c>;\"d'",
    b"back\\slash.png": "back\\slash",
    b" a space .png": " a space ",
    b"--dash.png": "--dash",
    b"..png": "..png",
    b"...png": "...png",
    "🔬 スライド.png".encode(): "🔬 スライド",
    b"x" * 246 + b".png": "x" * 246,
    "é".encode() * 125 + b".png": "é" * 125,
}
"""Names of files, and of their results' folders."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    picture = generate(100, 100, nuclei=6, seed=1).image[..., ::-1]
    content = cv2.imencode(".png", picture)[1].tobytes()
    for name in FOLDERS:
        (folder / os.fsdecode(name)).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def results(images: Path, server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    named = [str(images / os.fsdecode(name)) for name in FOLDERS]
    run = subprocess.run(
        [*TSFD, "segment", *named, "--mpp=0.25", f"--out={out}", f"--server={server.grpc_url}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        f"{images}/" + shown(os.fsdecode(name)) for name in FOLDERS
    ]
    return out


def test_each_has_a_folder_and_a_line(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {path.name for path in results.iterdir()} == {*FOLDERS.values(), "summary.csv"}
    with (results / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["slide"]: row["state"] for row in csv.DictReader(file)}
    assert rows == dict.fromkeys(FOLDERS.values(), "done")
    assert main(["status", str(results)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(FOLDERS)
    summary = json.loads((results / r"caf\xe9/summary.json").read_bytes())
    assert summary["slide"] == r"caf\xe9.png"
    assert open_result(results / r"caf\xe9").info.slide == r"caf\xe9.png"


def test_each_is_shown_with_its_pixels(results: Path) -> None:
    with serving(results) as url:
        listed = json.loads(get(f"{url}/data/results.json")[1])["results"]
        assert {entry["name"] for entry in listed} == set(FOLDERS.values())
        for name in FOLDERS.values():
            status, content = get(f"{url}/data/{quote(name, safe='')}/view.json")
            view = json.loads(content)
            assert (status, view["name"], view["problem"]) == (200, name, None)


def test_each_is_in_the_site(results: Path, tmp_path: Path) -> None:
    assert main(["export", str(results), "--to=site", f"--out={tmp_path / 'site'}"]) == 0
    for name in FOLDERS.values():
        assert (tmp_path / "site/data" / name / "slide.pmtiles").is_file()


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_may_be_called_as_long_as_names_can_be(tmp_path: Path, to: str) -> None:
    (tmp_path / "run").mkdir()
    finished(tmp_path / "run", 0.5)
    out = tmp_path / ("x" * 255)
    assert main(["export", str(tmp_path / "run"), f"--to={to}", f"--out={out}"]) == 0
    assert out.exists()


def test_folders_that_are_not_utf8_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, good = tmp_path / "caf\udce9", tmp_path / "good"
    for _ in range(2):
        good.mkdir()
        finished(good, 0.5)
        if not folder.exists():
            good.rename(folder)
    for command, named in (
        (["segment", "a.png", f"--out={folder}"], folder),
        (["export", str(folder), "--to=csv"], folder / "nuclei.csv"),
        (["export", str(good), "--to=csv", f"--out={folder}/a.csv"], folder / "a.csv"),
        (["compare", str(folder), str(good)], folder),
    ):
        assert main(command) == 1
        assert capsys.readouterr().err == (
            f"tsfd: {shown(named)} cannot hold results, as its name is not UTF-8: rename it or "
            "choose another.\n"
        )
    with serving(tmp_path) as url:
        entries = json.loads(get(f"{url}/data/results.json")[1])["results"]
    assert [entry["name"] for entry in entries] == [r"caf\xe9", "good"]
    assert "is not UTF-8" in entries[0]["problem"]
    assert "nuclei" in entries[1]


@pytest.mark.parametrize(
    "command",
    [
        *(["segment", "NAME", "--out=out"], ["segment", "--slides=TABLE", "--out=out"]),
        *(["status", "NAME"], ["view", "NAME"], ["compare", "NAME", "NAME"]),
        ["export", "NAME", "--to=csv"],
    ],
)
def test_a_name_that_is_too_long_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    path = tmp_path / ("y" * 256)
    (tmp_path / "slides.csv").write_text(f"slide\n{path}\n")
    table = str(tmp_path / "slides.csv")
    assert main([word.replace("NAME", str(path)).replace("TABLE", table) for word in command]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"tsfd: {path}")
    assert error.endswith(": File name too long.")


def test_the_folder_in_which_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DICOM slide may be all the files of one."""
    (tmp_path / "case/inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "case/inner")
    out = Path("out")
    assert folders_of([Path()], out) == {Path(): out / "inner"}
    assert folders_of([Path("..")], out) == {Path(".."): out / "case"}
