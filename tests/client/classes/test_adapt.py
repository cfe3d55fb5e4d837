"""`tsfd adapt`: marks on a result become classes, or are refused, with the real server."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samples import histology
from serving.server import TritonServer
from tsfd_client.classes.head import load
from tsfd_client.cli import main
from tsfd_client.nuclei.table import Writer, read_info
from tsfd_client.release import NucleusClass

Adapt = Callable[..., int]
SWAPPED = {"neoplastic": "inflammatory", "inflammatory": "neoplastic"}


@pytest.fixture(scope="module")
def result(server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of real tissue, segmented."""
    out = tmp_path_factory.mktemp("adapt") / "results"
    command = ["segment", str(histology.path()), "--mpp=0.25", f"--out={out}"]
    assert main([*command, f"--server={server.grpc_url}"]) == 0
    return out / histology.path().stem


@pytest.fixture(scope="module")
def nuclei(result: Path) -> pd.DataFrame:
    return pq.read_table(result / "nuclei.parquet").to_pandas()


@pytest.fixture
def adapt(
    server: TritonServer, result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Adapt:
    """Write marks of rows of the table, and run the command."""

    def run(labels: dict[int, str], nuclei: pd.DataFrame, *options: str) -> int:
        marks = tmp_path / "marks.csv"
        with marks.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["slide", "x", "y", "label"])
            for row, label in labels.items():
                x, y = nuclei.loc[row, ["centroid_x", "centroid_y"]]
                writer.writerow([result.name, x, y, label])
        capsys.readouterr()
        command = ["adapt", str(result), f"--annotations={marks}", f"--out={tmp_path / 'my.npz'}"]
        return main([*command, f"--server={server.grpc_url}", *options])

    return run


def test_classes_that_the_network_confuses_are_put_right(
    adapt: Adapt, nuclei: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every mark calls neoplastic what the network calls inflammatory, and the other way round."""
    wrong = {row: SWAPPED[name] for row, name in nuclei["class"].items() if name in SWAPPED}
    assert adapt(wrong, nuclei) == 0
    said, _ = capsys.readouterr()
    assert said.startswith(f"{len(wrong)} marked nuclei on 1 image; 0 marks on no nucleus")
    assert "connective: no marks, kept as the network finds it (or --without connective)\n" in said
    assert re.search(rf"^mean +{len(wrong)} ", said, re.MULTILINE)
    assert said.splitlines()[-2].startswith("Better than the network on regions left out: mean F1 ")
    assert "`make convert WEIGHTS=" in said.splitlines()[-1]

    head = load(tmp_path / "my.npz")
    assert head.names == head.network_classes
    assert [kind.name for kind in head.classes if kind.learned] == ["neoplastic", "inflammatory"]
    assert [*head.figures["classes"]] == ["neoplastic", "inflammatory"]
    figures = head.figures["classes"]["neoplastic"]
    assert figures["marks"] == (nuclei["class"] == "inflammatory").sum()
    assert figures["f1_before"] < 0.2
    assert figures["f1_after"] > 0.8
    page = (tmp_path / "my.html").read_text()
    assert "<html" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_a_new_class_takes_the_place_of_the_one_it_refines(
    adapt: Adapt, nuclei: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {**SWAPPED, "neoplastic": "Lymphocyte", "inflammatory": "tumour"}
    found = nuclei[nuclei["class"].isin(SWAPPED)]
    marks = {row: names[name] for row, name in found["class"].items()}
    # Half of what the network calls inflammatory is of a third class, by its size.
    median = found.loc[found["class"] == "inflammatory", "area_um2"].median()
    small = found.index[(found["class"] == "inflammatory") & (found["area_um2"] < median)]
    marks |= dict.fromkeys(small, "plasma cell")
    adapt(marks, nuclei, "--without=dead", "--without=epithelial")
    said = capsys.readouterr().out
    assert "Lymphocyte: takes the place of the network's neoplastic\n" in said
    assert "plasma cell: takes the place of the network's inflammatory\n" in said
    assert "dead" not in said
    table = [line.split()[0] for line in said.splitlines() if line.startswith(("tumour", "plasma"))]
    assert table


def test_marks_on_nuclei_of_a_class_that_stays_are_named(
    adapt: Adapt, nuclei: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is marked of neoplastic, so what the network calls so stays so."""
    kinds = {"neoplastic": "tumour", "inflammatory": "inflammatory", "connective": "connective"}
    found = nuclei[nuclei["class"].isin(kinds)]
    marks = {row: kinds[name] for row, name in found["class"].items()}
    few = [row for row, name in marks.items() if name == "tumour"][:8]
    marks = {row: name for row, name in marks.items() if name != "tumour"}
    marks |= dict.fromkeys(few, "not a nucleus")
    adapt(marks, nuclei)
    said = capsys.readouterr().out
    assert (
        "8 of 8 marks of not a nucleus are on nuclei that the network calls neoplastic and that "
        "stay so: mark some neoplastic nuclei, too, or leave that class out (--without neoplastic)"
    ) in said


def test_classes_of_the_results_that_will_be_gone_are_named(
    server: TritonServer,
    result: Path,
    nuclei: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A second round on results of classes of one's own, without the marks of the first."""
    own = Path(shutil.copytree(result, tmp_path / "own"))
    info = read_info(own / "nuclei.parquet")
    classes = (*info.release.classes, NucleusClass("plasma cell", (1, 2, 3)))
    table = pq.read_table(own / "nuclei.parquet")
    with Writer(
        own / "nuclei.parquet", replace(info, release=replace(info.release, classes=classes))
    ) as writer:
        writer.write(table)
    found = nuclei[nuclei["class"].isin(SWAPPED)]
    rows = [
        f"own,{row.centroid_x},{row.centroid_y},{SWAPPED[row['class']]}"
        for _, row in found.iterrows()
    ]
    marks = tmp_path / "marks.csv"
    marks.write_text("\n".join(["slide,x,y,label", *rows]))
    command = ["adapt", str(own), f"--annotations={marks}", f"--out={tmp_path / 'my.npz'}"]
    assert main([*command, f"--server={server.grpc_url}"]) == 0
    assert (
        "The results also have the classes plasma cell, which will be gone, as no mark is of them: "
        "name the files of marks that they were learned from\n"
    ) in capsys.readouterr().out


def test_what_does_not_beat_the_network_is_refused(
    adapt: Adapt, nuclei: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = {row: name for row, name in nuclei["class"].items() if name in SWAPPED}
    assert adapt(right, nuclei) == 1
    said = capsys.readouterr().out
    assert "the network is left as it is" in said
    assert said.splitlines()[-1].endswith("my.html, and no classes.")
    assert not (tmp_path / "my.npz").exists()


def test_marks_beside_the_result_count(
    adapt: Adapt, nuclei: pd.DataFrame, result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [row.centroid_x, row.centroid_y]},
            "properties": {"classification": {"name": SWAPPED.get(row["class"], row["class"])}},
        }
        for _, row in nuclei.iterrows()
    ]
    marks = result / "annotations.geojson"
    marks.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    try:
        assert adapt({}, nuclei) == 0
    finally:
        marks.unlink()
    assert capsys.readouterr().out.startswith(f"{len(nuclei)} marked nuclei on 1 image")


def test_results_of_one_image_have_their_marks_together(
    server: TritonServer,
    result: Path,
    nuclei: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same mark counts once; a contradiction is listed, and says nothing."""
    old, new = tmp_path / "results/old", tmp_path / "results/new"
    shutil.copytree(result, old)
    shutil.copytree(result, new)
    # As relabelling leaves out what is no nucleus, and gives others other classes.
    info, fewer = read_info(new / "nuclei.parquet"), pq.read_table(new / "nuclei.parquet").slice(5)
    with Writer(new / "nuclei.parquet", info) as writer:
        dead = pa.array(["dead"] * len(fewer))
        writer.write(fewer.set_column(1, fewer.schema.field("class"), dead))
    wrong = {row: SWAPPED[name] for row, name in nuclei["class"].items() if name in SWAPPED}
    rows = [*wrong]

    def marks(labels: dict[int, str], **said: object) -> str:
        features = [
            {
                "type": "Feature",
                "geometry": {
                    "type": "Point",
                    "coordinates": nuclei.loc[row, ["centroid_x", "centroid_y"]].tolist(),
                },
                "properties": {"classification": {"name": label}},
            }
            for row, label in labels.items()
        ]
        return json.dumps({"type": "FeatureCollection", **said, "features": features})

    (old / "annotations.geojson").write_text(marks({row: wrong[row] for row in rows[:-9]}))
    more = {row: wrong[row].upper() for row in rows[:-4]} | {rows[0]: "plasma"}
    (new / "annotations.geojson").write_text(marks(more))
    # Beside a comparison, marks are of the image.
    beside = tmp_path / "changed.geojson"
    beside.write_text(marks({row: wrong[row] for row in rows[1:]}, slide=histology.path().name))
    # All nuclei as a program exports them, of which two have been given another class.
    exported = tmp_path / "new.geojson"
    assert main(["export", str(new), "--to=geojson", f"--out={exported}"]) == 0
    capsys.readouterr()

    command = ["adapt", str(old.parent), f"--annotations={beside}", f"--annotations={exported}"]
    out = f"--out={tmp_path / 'my.npz'}"
    assert main([*command, out, f"--server={server.grpc_url}"]) == 0
    said, errors = capsys.readouterr()
    assert said.startswith(
        "new and old are of one image: their marks are taken together.\n"
        f"{len(rows) - 1} marked nuclei on 1 image; 0 marks on no nucleus, "
    )
    assert errors.splitlines() == [
        f"tsfd: {old}/annotations.geojson, feature 1: {wrong[rows[0]]!r} of the same nucleus that "
        f"{new}/annotations.geojson, feature 1 calls 'plasma'.",
        "tsfd: 1 marks are left out.",
    ]


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ({}, (), "There are no marks: mark nuclei in `tsfd view`, or name a file with"),
        ({0: "missing nucleus"}, (), "line 2: there is a nucleus here, number 1.\n"),
        ({0: "a", 1: "b"}, (), "5 marks of a class are needed, better 30: "),
        ({0: "a"}, ("--without=lymph",), "The network has no class 'lymph': --without takes neo"),
        ({0: "a"}, ("--annotations=none.csv",), "none.csv"),
    ],
)
def test_marks_that_do_not_suffice(
    adapt: Adapt,
    nuclei: pd.DataFrame,
    capsys: pytest.CaptureFixture[str],
    labels: dict[int, str],
    options: tuple[str, ...],
    message: str,
) -> None:
    assert adapt(labels, nuclei, *options) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == (3 if "there is a nucleus" in message else 1)
    assert message in error


def test_what_is_wrong_with_marks_is_said_though_nothing_is_learned(
    server: TritonServer,
    result: Path,
    nuclei: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of each file the first twenty, and why there is nothing to learn from."""
    marks = tmp_path / "marks.csv"
    command = ["adapt", str(result), f"--annotations={marks}", f"--server={server.grpc_url}"]

    def said(*rows: str) -> list[str]:
        marks.write_text("\n".join(["slide,x,y,label", *rows]) + "\n")
        assert main(command) == 1
        return capsys.readouterr().err.splitlines()

    name = result.name
    lines = said(*(f"other{number},1,1,a" for number in range(25)))
    assert len(lines) == 20 + 3
    assert lines[19].startswith(f"tsfd: {marks}, line 21: there is no result 'other19'")
    assert lines[20:] == [
        f"tsfd: {marks}: and 5 more.",
        "tsfd: 25 marks are left out.",
        "tsfd: All marks are of slides that are none of these results: they name 'other0', "
        f"'other1', 'other2', ..., and the results are called {name!r}. Names are compared with "
        "their capitals, without folders.",
    ]
    assert said(f"{name},-1,5,a")[-1] == (
        "tsfd: No mark is on a nucleus: what is wrong with each is said above."
    )
    # The place that is farthest from all nuclei.
    grid = np.stack(np.meshgrid(np.arange(0, 250, 5), np.arange(0, 250, 5)), axis=-1).reshape(-1, 2)
    centroids = nuclei[["centroid_x", "centroid_y"]].to_numpy()
    away = np.linalg.norm(grid[:, None] - centroids, axis=2).min(axis=1)
    x, y = grid[away.argmax()]
    assert away.max() > 6 / 0.25
    assert said(f"{name},{x},{y},a") == [
        "tsfd: 1 marks are on no nucleus: x (to the right) and y (down) must be pixels of level 0, "
        "not micrometres.",
        "tsfd: No mark is on a nucleus, and without one nothing can be learned.",
    ]
    assert said(f"{name},1,x,a")[-1] == (
        "tsfd: None of the marks can be used: what is wrong with each is said above."
    )


def test_out_overwrites_only_what_adapt_wrote(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which is said before any work: no server is asked."""
    np.savez(tmp_path / "weights.npz", preset="lite")
    (tmp_path / "notes.html").write_text("<title>My notes</title>")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for out, message in (
        ("weights.npz", "weights.npz is no file of classes, and is not overwritten"),
        ("notes.npz", "notes.html is no report of classes, and is not overwritten"),
        ("classes", "classes, and must end in .npz."),
        ("", f"{tmp_path} is a folder: give --out the name of a file"),
    ):
        command = ["adapt", str(result), f"--out={tmp_path / out}", "--server=localhost:9"]
        assert main(command) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_is_no_result(
    server: TritonServer, result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, message in (
        (tmp_path / "none", "There is no folder"),
        (tmp_path, "is no finished result, and holds none."),
    ):
        assert main(["adapt", str(folder), f"--server={server.grpc_url}"]) == 1
        assert message in capsys.readouterr().err

    moved = Path(shutil.copytree(result, tmp_path / "moved"))
    origin = json.loads((moved / "origin.json").read_text())
    (moved / "origin.json").write_text(json.dumps(origin | {"path": str(tmp_path / "gone.png")}))
    marks = tmp_path / "marks.csv"
    x, y = (pq.read_table(moved / "nuclei.parquet")[f"centroid_{axis}"][0] for axis in "xy")
    marks.write_text(f"slide,x,y,label\nmoved,{x},{y},a\n")
    command = ["adapt", str(moved), f"--annotations={marks}", f"--server={server.grpc_url}"]
    assert main(command) == 1
    assert "The image has been moved or deleted" in capsys.readouterr().err


def test_without_a_server(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["adapt", str(result), "--server=localhost:9"]) == 1
    assert "No Triton server answers at localhost:9" in capsys.readouterr().err
