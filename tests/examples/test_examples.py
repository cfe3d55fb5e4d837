"""The examples run as their first lines say, against the real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from samples.synthetic import generate
from serving.environment import ROOT
from serving.server import TritonServer
from tsfd_client import Client, open_result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures with nuclei, and a note beside them."""
    path = tmp_path_factory.mktemp("images")
    for seed, name in enumerate(("a.png", "b.png")):
        picture = generate(300, 420, nuclei=60, seed=seed).image
        cv2.imwrite(str(path / name), picture[..., ::-1])
    (path / "notes.txt").write_text("nothing to see")
    return path


def run(example: str, *arguments: str | Path, server: TritonServer) -> str:
    """What an example prints."""
    command = [sys.executable, ROOT / "examples" / example, *arguments, "--mpp=0.25"]
    done = subprocess.run(
        [*command, f"--server={server.grpc_url}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plot_nuclei(server: TritonServer, folder: Path, tmp_path: Path) -> None:
    run("plot_nuclei.py", folder / "a.png", tmp_path / "nuclei.png", server=server)

    picture = cv2.imread(str(tmp_path / "nuclei.png"))
    assert min(picture.shape[:2]) > 500
    # The outlines' red and blue are nowhere in an H&E image.
    assert (np.abs(picture.astype(int) - (30, 50, 230)).max(axis=2) < 20).any()


def test_stream_tiles(server: TritonServer, folder: Path) -> None:
    printed = run("stream_tiles.py", folder / "a.png", server=server).splitlines()

    corners = sorted((int(line.split()[1]), int(line.split()[3])) for line in printed)
    assert corners == [(0, 0), (0, 164), (44, 0), (44, 164)]
    assert sum(int(line.split()[4]) for line in printed) > 20


def test_count_folder(server: TritonServer, folder: Path, tmp_path: Path) -> None:
    printed = run("count_folder.py", folder, tmp_path / "counts.csv", server=server)

    assert f"skipped: {folder / 'notes.txt'} cannot be read as an image: " in printed
    table = pd.read_csv(tmp_path / "counts.csv", index_col="image")
    assert list(table.index) == ["a.png", "b.png"]
    with Client(server.grpc_url) as client:
        for name in table.index:
            counts = client.segment(cv2.imread(str(folder / name))[..., ::-1]).counts()
            assert dict(table.loc[name]) == counts | {"all": sum(counts.values())}


def execute(
    name: str, server: TritonServer, folder: Path, changes: tuple[tuple[str, str], ...] = ()
) -> list[nbformat.NotebookNode]:
    """Run a notebook in a folder, on an image of its own; returns its cells.

    The cells run in an event loop, as all notebooks' do. `changes` are made to the settings.
    """
    notebook = nbformat.read(ROOT / "examples" / name, as_version=4)
    Image.fromarray(generate(700, 900, nuclei=300, seed=4).image).save(folder / "slide.png")
    first = notebook.cells[1]
    here_and_now = (("slide.svs", "slide.png"), ("localhost:8001", server.grpc_url))
    for named, here in (*here_and_now, *changes):
        assert named in first.source
        first.source = first.source.replace(named, here)
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook.cells


def outputs(cells: list[nbformat.NotebookNode], kind: str) -> list[str]:
    """What cells show of a MIME type."""
    shown = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    return [data[kind] for data in shown if kind in data]


def test_slide_to_plot(server: TritonServer, tmp_path: Path) -> None:
    cells = execute("slide_to_plot.ipynb", server, tmp_path)

    assert len(cells) == 10
    result = open_result(tmp_path / "results" / "slide")
    assert len(result) > 100
    assert len(outputs(cells, "image/png")) == 2
    texts = outputs(cells, "text/plain")
    assert texts[0] == repr(result)
    assert texts[-1].startswith("AnnData object with n_obs")
    assert str(len(result)) in texts[-1].splitlines()[0]


def test_cluster_nuclei(server: TritonServer, tmp_path: Path) -> None:
    cells = execute("cluster_nuclei.ipynb", server, tmp_path)

    result, clustered = map(open_result, sorted((tmp_path / "results").glob("slide*")))
    assert len(clustered) == len(result) > 100
    assert clustered.release.name.startswith(f"{result.release.name}+classes-")
    # The clusters of the notebook are the classes of the result.
    [table] = [text for text in outputs(cells, "text/plain") if text.startswith("class ")]
    rows = [line.split() for line in table.splitlines()[2:]]
    counts = {f"cluster {number}": sum(map(int, numbers)) for number, *numbers in rows}
    assert {name: n for name, n in clustered.counts().items() if n} == counts
    assert len(outputs(cells, "image/png")) == 1


def test_tumour_and_inflammation(server: TritonServer, tmp_path: Path) -> None:
    """By the rule, and by an outline of the left half: every nucleus counts in one region."""
    half = [[0, 0], [448, 0], [448, 700], [0, 700], [0, 0]]
    outlined = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [half]},
        "properties": {"classification": {"name": "Tumor"}},
    }
    (tmp_path / "outlines.geojson").write_text(json.dumps(outlined))
    settings = (("OUTLINES = None", 'OUTLINES = Path("outlines.geojson")'),)
    for changes in ((), settings):
        cells = execute("tumour_and_inflammation.ipynb", server, tmp_path, changes)
        assert len(outputs(cells, "image/png")) == 1
        result = open_result(tmp_path / "results" / "slide")
        figures = pd.read_csv(result.folder / "tumour_and_inflammation.csv", index_col="region")
        assert figures["nuclei"].sum() == len(result) > 100
        assert figures["mm²"].sum() == pytest.approx(0.7 * 0.9 * 0.25**2, rel=0.02)
        inflammatory = (figures["inflammatory per mm²"] * figures["mm²"]).sum()
        assert inflammatory == pytest.approx(result.counts()["inflammatory"], abs=0.1)
    assert figures.loc["tumour", "mm²"] == pytest.approx(0.448 * 0.7 * 0.25**2, rel=0.05)
