"""What is told of an image: in the terminal, from Python, in the summary and on the page."""

from __future__ import annotations

import io
import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from samples.synthetic import generate
from serving.server import TritonServer
from tests.client.slide_files import write_tiff
from tsfd_client import open_result, segment_image
from tsfd_client.cli import main
from tsfd_client.view.results import Result

FIELD = generate(190, 240, nuclei=20, seed=8).image
HALF = "It states 0.5 µm per pixel; 0.25 was given and is used."
TURNED = (
    "Its orientation tag (6) asks viewers to turn or mirror it; its pixels are taken as they are "
    "stored, which is how QuPath shows them."
)


def on_the_page(folder: Path) -> dict[str, Any]:
    with closing(Result(folder)) as result:
        return result.view()


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("tsfd: ")]


def test_another_scale_than_the_files(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given by --mpp, by a table or from Python."""
    path = tmp_path / "a.png"
    Image.fromarray(FIELD).save(path, dpi=(50_800, 50_800))
    write_tiff(tmp_path / "b.tif", FIELD, mpp=0.5)
    table = tmp_path / "slides.csv"
    table.write_text("slide,mpp\nb.tif,0.25\n")
    to = [f"--out={tmp_path}", f"--server={server.grpc_url}", "--no-tissue"]

    assert main(["segment", str(path), "--mpp=0.25", *to]) == 0
    assert said(capsys) == [f"tsfd: {path}: {HALF}"]
    assert main(["segment", f"--slides={table}", *to]) == 0
    assert said(capsys) == [f"tsfd: {tmp_path / 'b.tif'}: {HALF}"]
    with pytest.warns(UserWarning, match=f"^{re.escape(f'{path}: {HALF}')}$"):
        segment_image(path, tmp_path / "python", server.grpc_url, mpp=0.25)
    for name in "ab":
        assert json.loads((tmp_path / name / "summary.json").read_text())["remarks"] == [HALF]
        assert on_the_page(tmp_path / name)["warning"] == HALF
        assert open_result(tmp_path / name).mpp == 0.25


def test_a_scale_that_cannot_be_right(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(FIELD).save(path, dpi=(101_600, 50_800))
    to = [f"--out={tmp_path}", f"--server={server.grpc_url}"]

    assert main(["segment", str(path), *to]) == 1
    assert said(capsys) == [
        f"tsfd: {path} says that its pixels are 0.25 µm wide and 0.5 µm high, and only square ones "
        "can be segmented: give its micrometres per pixel with --mpp (in Python mpp=). Scans "
        "are commonly at 0.5 (20x) or 0.25 (40x); ask whoever scanned it."
    ]
    assert main(["segment", str(path), "--mpp=0.25", *to]) == 0
    assert said(capsys) == []


def test_no_advice_to_give_what_was_given(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (300, 300)).save(path)
    to = [f"--out={tmp_path / 'given'}", f"--server={server.grpc_url}", "--mpp=0.25"]
    none = "No nuclei were found: is this an H&E image, and at 0.25 µm per pixel (40x)?"

    assert main(["segment", str(path), *to]) == 0
    assert said(capsys) == [f"tsfd: {path}: {none}"]
    with pytest.warns(UserWarning, match=f"^{re.escape(f'{path}: {none}')}$"):
        segment_image(path, tmp_path / "given", server.grpc_url, mpp=0.25)
    assert main(["segment", str(path), f"--out={tmp_path / 'assumed'}", to[1]]) == 0
    assert said(capsys)[1] == f"tsfd: {path}: {none} Give the scale with --mpp."


def test_a_turned_picture_is_as_stored_everywhere(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outlines, labels, overlay and page are those of the same picture without the tag."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(FIELD).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(FIELD).save(tmp_path / "plain.png")
    paths = [str(tmp_path / name) for name in ("turned.png", "plain.png")]
    to = [f"--out={tmp_path}", f"--server={server.grpc_url}", "--mpp=0.25"]

    assert main(["segment", *paths, *to]) == 0

    assert said(capsys) == [f"tsfd: {paths[0]}: {TURNED}"]
    turned, plain = tmp_path / "turned", tmp_path / "plain"
    for name in ("nuclei.geojson", "nuclei.csv", "labels.png", "overlay.png"):
        assert (turned / name).read_bytes() == (plain / name).read_bytes()
    assert len(open_result(turned)) > 5
    view = on_the_page(turned)
    assert (view["warning"], view["width"], view["height"]) == (TURNED, 240, 190)
    with closing(Result(turned)) as result:
        tile = result.tile(view["full"], 0, 0)
    shown = np.asarray(Image.open(io.BytesIO(tile)))[:190, :240]
    assert np.abs(shown.astype(int) - FIELD).mean() < 10
