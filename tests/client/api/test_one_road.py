"""A picture goes the way of a slide: `tsfd segment` and `Client.segment` find the same nuclei."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from samples.synthetic import generate
from serving.server import TritonServer
from tsfd_client import Client, overlay, read_image, save
from tsfd_client.cli import main
from tsfd_client.view.results import Result

OUTPUTS = ["DONE", "events.jsonl", "labels.png", "nuclei.csv", "nuclei.geojson", "nuclei.parquet"]
OUTPUTS += ["origin.json", "overlay.png", "run.json", "summary.json"]


def _picture(folder: Path, height: int, width: int) -> Path:
    path = folder / "a.png"
    Image.fromarray(generate(height, width, nuclei=height * width // 2500, seed=8).image).save(path)
    return path


@pytest.mark.parametrize(
    ("shape", "mpp"),
    [((190, 240), 0.25), ((300, 3900), 0.25), ((410, 520), 0.13), ((230, 210), 0.6)],
)
def test_file_and_memory_agree(
    server: TritonServer, tmp_path: Path, shape: tuple[int, int], mpp: float
) -> None:
    path = _picture(tmp_path, *shape)
    command = ["segment", str(path), f"--mpp={mpp}", f"--out={tmp_path}"]
    assert main([*command, f"--server={server.grpc_url}", "--no-tissue"]) == 0
    image, _ = read_image(path)
    with Client(server.grpc_url) as client:
        nuclei = client.segment(image, mpp=mpp)

    folder = tmp_path / "a"
    assert sorted(file.name for file in folder.iterdir()) == OUTPUTS
    assert len(nuclei) > 5
    table = pq.read_table(folder / "nuclei.parquet")
    assert table.equals(nuclei.table())
    labels = cv2.imread(str(folder / "labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.dtype == np.uint16
    assert np.array_equal(labels, nuclei.instance_map)
    assert np.array_equal(np.asarray(Image.open(folder / "overlay.png")), overlay(nuclei, image))
    summary = json.loads((folder / "summary.json").read_text())
    assert {name: c["nuclei"] for name, c in summary["classes"].items()} == nuclei.counts()
    with (folder / "nuclei.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == list(range(1, len(nuclei) + 1))
    assert [row["class"] for row in rows] == nuclei.class_names
    assert [float(row["centroid_x"]) for row in rows] == nuclei.centroids[:, 0].tolist()
    features = json.loads((folder / "nuclei.geojson").read_text())["features"]
    assert [feature["id"] for feature in features] == [f"nucleus-{row['id']}" for row in rows]

    # What Python saves is what the command line writes, but for the run.
    save(nuclei, image, tmp_path / "saved", source=path)
    written = {file.name: file.read_bytes() for file in (tmp_path / "saved").iterdir()}
    assert sorted({*written} | {"DONE", "events.jsonl", "run.json"}) == OUTPUTS
    saved = pq.read_table(tmp_path / "saved" / "nuclei.parquet")
    assert saved.equals(table)  # in one row group instead of one for each block
    for name in {*written} - {"summary.json", "nuclei.parquet"}:
        assert written[name] == (folder / name).read_bytes(), name
    assert main(["export", str(tmp_path / "saved"), "--to=geojson"]) == 0
    for result in map(Result, (folder, tmp_path / "saved")):
        assert result.view()["pixels"] == "tiles"
        assert result.entry()["nuclei"] == len(nuclei)
        result.close()


def test_every_pixel_shows_the_nucleus_that_holds_it(server: TritonServer) -> None:
    field = generate(300, 300, nuclei=40, seed=2)
    with Client(server.grpc_url) as client:
        nuclei = client.segment(field.image)

    for number, contour in enumerate(nuclei.contours, start=1):
        inside = np.zeros(field.image.shape[:2], np.uint8)
        closed = contour.astype(np.float32).reshape(-1, 1, 2)
        for y, x in zip(*np.nonzero(nuclei.instance_map == number), strict=True):
            assert cv2.pointPolygonTest(closed, (x + 0.5, y + 0.5), False) > 0
            inside[y, x] = 1
        assert inside.sum() == pytest.approx(cv2.contourArea(closed))


def test_other_settings_do_not_pass_for_the_first(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _picture(tmp_path, 200, 200)
    command = ["segment", str(path), f"--out={tmp_path}", f"--server={server.grpc_url}"]
    assert main([*command, "--mpp=0.25"]) == 0
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "a").iterdir()}
    capsys.readouterr()

    assert main([*command, "--mpp=0.5"]) == 1
    assert capsys.readouterr().err == (
        f"tsfd: {tmp_path / 'a'} was started with mpp 0.25, not 0.5: choose another --out (in "
        "Python out=), or remove the folder.\n"
    )
    assert main([*command, "--mpp=0.25", "--min-area=60"]) == 1
    assert "was started with min area " in capsys.readouterr().err
    Image.fromarray(generate(200, 200, nuclei=20, seed=9).image).save(path)
    assert main([*command, "--mpp=0.25"]) == 1
    assert "was started with another image of this name: choose" in capsys.readouterr().err
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "a").iterdir()} == kept


def test_a_folder_is_all_images_in_it(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    (images / "below").mkdir(parents=True)
    for seed, name in enumerate(("b.png", "below/c.jpg", "a.TIF")):
        Image.fromarray(generate(100, 100, nuclei=6, seed=seed).image).save(images / name)
    (images / "notes.txt").write_text("none")
    (images / "site/data/a").mkdir(parents=True)
    (images / "site/data/a/view.json").touch()
    (images / "site/data/a/thumbnail.jpg").write_bytes((images / "below/c.jpg").read_bytes())
    (images / ".hidden.png").write_bytes((images / "b.png").read_bytes())
    command = ["segment", str(images), f"--out={images}", "--mpp=0.25"]
    for _ in range(2):  # results are not taken for images
        assert main([*command, f"--server={server.grpc_url}"]) == 0
        first, *lines = capsys.readouterr().out.splitlines()
        assert first == f"{images}: 3 images"
        paths = [images / name for name in ("a.TIF", "b.png", "below/c.jpg")]
        for path, line in zip(paths, lines, strict=True):
            assert line.startswith(f"{path}: ")
            assert line.endswith(f" in {images / path.stem}")

    (tmp_path / "empty").mkdir()
    assert main(["segment", str(tmp_path / "empty"), *command[2:]]) == 1
    assert capsys.readouterr().err == (
        f"tsfd: The folder {tmp_path / 'empty'} holds no image that can be read (picture, slide "
        "or DICOM).\n"
    )
