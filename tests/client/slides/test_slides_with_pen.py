"""Pen on a slide that is segmented: left out, said and shown; or segmented when asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image
from scipy.spatial import cKDTree

from samples.pen import INKS, draw, strokes
from samples.synthetic import generate
from serving.server import TritonServer
from tests.client.commands import outputs
from tsfd_client import TsfdError, segment_image
from tsfd_client.cli import main
from tsfd_client.view.results import Result

HEIGHT, WIDTH = 2400, 1600  # 0.6 x 0.4 mm
FAR = 120  # pixels beyond its edge, where ink changes nothing


@pytest.fixture(scope="module")
def covered() -> np.ndarray:
    """A line of 0.2 mm."""
    return strokes((0.9, 0.4), 0.25, seed=3, widths=(0.2,))[-HEIGHT:]


@pytest.fixture(scope="module")
def slides(covered: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``clean.svs`` and ``pen.svs``."""
    folder = tmp_path_factory.mktemp("slides")
    field = generate(HEIGHT // 2, WIDTH // 2, nuclei=320, seed=8).image
    clean = np.vstack(
        [np.hstack([field, field[:, ::-1]]), np.hstack([field, field[:, ::-1]])[::-1]]
    )
    drawn = draw(clean, covered, INKS["blue"][0], opacity=0.9, mpp=0.25, seed=0)
    for name, image in {"clean": clean, "pen": drawn}.items():
        tifffile.imwrite(
            *(folder / f"{name}.svs", image),
            photometric="rgb",
            tile=(256, 256),
            description="Aperio Image Library |AppMag = 40|MPP = 0.25",
            metadata=None,
        )
    return folder


def centroids(folder: Path) -> np.ndarray:
    table = pq.read_table(folder / "nuclei.parquet")
    return np.stack([table[axis].to_numpy() for axis in ("centroid_x", "centroid_y")], axis=1)


def test_pen_is_left_out_and_the_rest_found(
    server: TritonServer,
    slides: Path,
    covered: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["segment", f"--out={tmp_path}", f"--server={server.grpc_url}"]
    assert main([*command, str(slides / "clean.svs"), str(slides / "pen.svs")]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    summary = json.loads((tmp_path / "pen/summary.json").read_text())
    mm2 = summary["artifacts"]["pen"]
    told = f"pen of {mm2:.2f} mm² was left out. To segment it, too, give --with-pen."
    assert said == f"tsfd: {slides}/pen.svs: {told}"
    assert (covered > 0.5).sum() * 0.25**2 / 1e6 <= mm2 <= 1.5 * covered.sum() * 0.25**2 / 1e6
    assert summary["left_out"] == ["pen"]

    clean, found = centroids(tmp_path / "clean"), centroids(tmp_path / "pen")
    is_inked = covered > 0.5
    near = np.zeros_like(is_inked)
    for row in np.flatnonzero(is_inked.any(axis=1)):
        near[max(0, row - FAR) : row + FAR] |= is_inked[row]
    assert not is_inked[tuple(found[:, ::-1].astype(int).T)].any()
    outside = clean[~near[tuple(clean[:, ::-1].astype(int).T)]]
    distances, _ = cKDTree(found).query(outside)
    assert len(outside) > 300
    assert (distances < 4).mean() >= 0.99
    assert json.loads((tmp_path / "clean/summary.json").read_text())["artifacts"] == {
        "pen": 0.0,
        "blur": 0.0,
    }
    assert not (tmp_path / "clean/artifacts.geojson").exists()

    (shown,) = Result(tmp_path / "pen").view()["artifacts"]
    assert shown["mm2"] == mm2
    assert shown["is_left_out"]
    assert shown["outlines"]
    assert Result(tmp_path / "clean").view()["artifacts"] == []
    overview = np.array(Image.open(tmp_path / "pen/overview.png")).astype(int)
    assert (abs(overview - shown["colour"]).max(axis=2) < 10).sum() > 200


def test_asked_for_it_is_segmented_all_the_same(
    server: TritonServer, slides: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = slides / "pen.svs"
    command = ["segment", str(path), f"--server={server.grpc_url}", "--with-pen"]
    assert main([*command, f"--out={tmp_path / 'line'}"]) == 0
    assert capsys.readouterr().err == ""
    summary = json.loads((tmp_path / "line/pen/summary.json").read_text())
    assert summary["artifacts"]["pen"] > 0.05
    assert summary["left_out"] == []
    assert summary["segmented_mm2"] == pytest.approx(0.24, rel=0.01)

    again = ["segment", str(path), f"--server={server.grpc_url}", f"--out={tmp_path / 'line'}"]
    assert main(again) == 1
    assert capsys.readouterr().err == (
        f'tsfd: {tmp_path}/line/pen was started with pen "segmented", not "left out": choose '
        "another --out (in Python out=), or remove the folder.\n"
    )

    segment_image(path, tmp_path / "python", server.grpc_url, with_pen=True)
    assert outputs(tmp_path / "python/pen") == outputs(tmp_path / "line/pen")


def test_python_programs_are_warned(server: TritonServer, slides: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"pen of 0\.\d\d mm² was left out\. .*with_pen=True"):
        segment_image(slides / "pen.svs", tmp_path, server.grpc_url)


def test_a_slide_that_is_all_pen(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pen.svs"
    image = np.full((2400, 2400, 3), INKS["blue"][0], np.uint8)
    tifffile.imwrite(
        *(path, image),
        photometric="rgb",
        tile=(256, 256),
        description="Aperio Image Library |AppMag = 40|MPP = 0.25",
        metadata=None,
    )
    command = ["segment", str(path), f"--server={server.grpc_url}", f"--out={tmp_path}"]
    assert main(command) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"tsfd: {path} has no tissue that pen does not cover: segment it all the same with "
        "--with-pen (in Python with_pen=True)."
    )
    assert main([*command, "--with-pen"]) == 0  # a run of which nothing is kept binds nobody
    assert json.loads((tmp_path / "pen/summary.json").read_text())["left_out"] == []


def test_pictures_are_searched_where_their_tissue_is(
    server: TritonServer, slides: Path, tmp_path: Path
) -> None:
    """A small picture is segmented whole, whatever is drawn on it; so is an outline."""
    drawn = tifffile.imread(slides / "pen.svs")
    part = Image.fromarray(drawn[:, :800])  # 0.12 mm²
    part.save(tmp_path / "small.png")
    segment_image(tmp_path / "small.png", tmp_path, server.grpc_url, mpp=0.25)
    assert json.loads((tmp_path / "small/summary.json").read_text())["artifacts"] == {}

    corners = [[0, 0], [WIDTH, 0], [WIDTH, 400], [0, 400], [0, 0]]
    outline = tmp_path / "outline.geojson"
    outline.write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
    with pytest.raises(TsfdError, match="Pen and blur are only searched for where tissue is: dr"):
        segment_image(slides / "pen.svs", tmp_path, server.grpc_url, tissue=outline, with_pen=True)
    segment_image(slides / "pen.svs", tmp_path, server.grpc_url, tissue=outline)
    assert json.loads((tmp_path / "pen/summary.json").read_text())["artifacts"] == {}
