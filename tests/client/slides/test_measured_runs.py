"""``tsfd segment --measure`` and ``tsfd measure``: alike for pictures and slides, also resumed."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import anndata
import cv2
import numpy as np
import pandas as pd
import pytest

from samples.synthetic import generate
from serving.server import TritonServer
from tests.client.commands import TSFD
from tests.client.slide_files import write_tiff
from tsfd_client import OutputError, open_result, segment_image
from tsfd_client.cli import main
from tsfd_client.export import export
from tsfd_client.files import MEASURES, PARQUET

IMAGE = generate(900, 1200, nuclei=250, seed=7).image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide and a picture of the same pixels."""
    folder = tmp_path_factory.mktemp("measured")
    write_tiff(folder / "slide.tif", IMAGE)
    cv2.imwrite(str(folder / "picture.png"), IMAGE[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def results(server: TritonServer, folder: Path) -> Path:
    """Both, measured as they were segmented."""
    images = [str(folder / name) for name in ("slide.tif", "picture.png")]
    command = ["segment", *images, "--no-tissue", "--mpp=0.25", f"--out={folder / 'results'}"]
    assert main([*command, "--measure", f"--server={server.grpc_url}"]) == 0
    return folder / "results"


def test_a_picture_and_a_slide_have_the_same_measurements(results: Path) -> None:
    slide, picture = (open_result(results / name) for name in ("slide", "picture"))
    assert len(slide) > 100
    assert slide.table().drop_columns("id").equals(picture.table().drop_columns("id"))
    assert slide.measures().equals(picture.measures())
    assert slide.measures()["id"].equals(slide.table()["id"])
    frame = picture.measures().to_pandas()
    assert not frame.isna().any().any()
    assert frame["solidity"].between(0.5, 1).all()
    assert frame["haematoxylin_mean"].gt(frame["eosin_mean"]).mean() > 0.5


def test_all_formats_have_them(results: Path, tmp_path: Path) -> None:
    frame = open_result(results / "picture").measures().to_pandas()
    names = frame.columns[1:].tolist()
    table = pd.read_csv(results / "picture/nuclei.csv")
    assert table.columns[-len(names) :].tolist() == names
    assert np.allclose(table[names], frame[names], rtol=1e-5)
    file = export(results / "slide", "anndata", tmp_path / "nuclei.h5ad")
    measured = anndata.read_h5ad(file)
    assert measured.var_names.tolist() == ["area_um2", "class_prob", *names]
    assert np.array_equal(measured.X[:, 2:], frame[names].astype(np.float32))
    assert measured.obs.columns.tolist() == ["id", "class", "class_prob", "area_um2"]


def test_a_run_that_is_resumed_or_measured_later_gives_the_same_bytes(
    server: TritonServer, folder: Path, results: Path, tmp_path: Path
) -> None:
    expected = (results / "slide" / MEASURES).read_bytes()
    command = ["segment", str(folder / "slide.tif"), "--no-tissue", f"--out={tmp_path}"]
    command += [f"--server={server.grpc_url}"]
    with subprocess.Popen([*TSFD, *command, "--measure", "--in-flight=1"]) as process:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("slide/blocks/*")) and time.monotonic() < until:
            time.sleep(0.01)
        process.kill()
    assert not (tmp_path / "slide" / MEASURES).exists()
    assert main(command) == 0
    assert not (tmp_path / "slide" / MEASURES).exists()  # not asked for
    assert main([*command, "--measure"]) == 0
    assert (tmp_path / "slide" / PARQUET).read_bytes() == (results / "slide" / PARQUET).read_bytes()
    assert (tmp_path / "slide" / MEASURES).read_bytes() == expected

    (tmp_path / "slide" / PARQUET).unlink()  # all is made again
    result = segment_image(
        *(folder / "slide.tif", tmp_path, server.grpc_url), everywhere=True, measure=True
    )
    assert len(result.measures()) == len(result)
    assert (tmp_path / "slide" / MEASURES).read_bytes() == expected


def test_results_are_measured_without_a_server(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("slide", "picture"):
        shutil.copytree(results / name, tmp_path / "copies" / name)
        (tmp_path / "copies" / name / MEASURES).unlink()
    with pytest.raises(OutputError, match=r"is not measured: run `tsfd measure .*slide`\.$"):
        open_result(tmp_path / "copies/slide").measures()
    (tmp_path / "copies/picture/origin.json").unlink()
    assert main(["measure", str(tmp_path / "copies")]) == 1
    told = capsys.readouterr()
    path = tmp_path / "copies/slide" / MEASURES
    assert told.out == f"{path}\n"
    assert told.err.splitlines()[-1].startswith(
        f"tsfd: {tmp_path / 'copies/picture'} needs its image: put it back, or segment it again. "
    )
    assert path.read_bytes() == (results / "slide" / MEASURES).read_bytes()
    before = path.stat().st_mtime_ns
    assert main(["measure", str(tmp_path / "copies/slide")]) == 0
    assert path.stat().st_mtime_ns == before
