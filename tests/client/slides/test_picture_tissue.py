"""Where pictures are segmented: in an outline, and on large ones where tissue is found."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from samples.synthetic import generate
from serving.server import TritonServer
from tests.client.commands import answered
from tsfd_client import TsfdError, segment_image
from tsfd_client.cli import main
from tsfd_client.view.results import Result

GLASS = 244


def centroids(folder: Path) -> np.ndarray:
    """Of the nuclei in a picture's result, float64 [n, 2]."""
    features = json.loads((folder / "nuclei.geojson").read_text())["features"]
    measured = [feature["properties"]["measurements"] for feature in features]
    return np.array([(m["Centroid X px"], m["Centroid Y px"]) for m in measured])


def test_an_outline_holds_for_a_picture(server: TritonServer, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), generate(300, 900, nuclei=120, seed=6).image[..., ::-1])
    corners = [[64, 0], [320, 0], [320, 300], [64, 300], [64, 0]]
    outline = {"type": "Polygon", "coordinates": [corners]}
    (tmp_path / "outline.geojson").write_text(json.dumps(outline))
    command = ["segment", str(tmp_path / "a.png"), "--mpp=0.25", f"--server={server.grpc_url}"]
    before = answered(server)
    outlined = [*command, f"--tissue={tmp_path / 'outline.geojson'}", f"--out={tmp_path / 'part'}"]
    assert main(outlined) == 0
    asked = answered(server) - before - 1  # the patch that asks whether it is there
    assert main([*command, f"--out={tmp_path / 'whole'}"]) == 0

    assert asked == 4  # of ten
    everything, inside = centroids(tmp_path / "whole/a"), centroids(tmp_path / "part/a")
    x = everything[:, 0]
    far = everything[(x >= 64) & (x < 224)]  # whose tiles are asked of in both
    kept = inside[inside[:, 0] < 224]
    assert len(kept) == len(far) > 10
    assert np.allclose(np.sort(kept, axis=0), np.sort(far, axis=0))
    assert inside[:, 0].min() >= 64
    assert inside[:, 0].max() < 352  # the mask's pixels have 8 µm
    labels = cv2.imread(str(tmp_path / "part/a/labels.png"), cv2.IMREAD_UNCHANGED)
    assert sorted(np.unique(labels)) == list(range(len(inside) + 1))
    # The page knows what it is per.
    view = Result(tmp_path / "part/a").view()
    assert view["mm2"] == pytest.approx(300 * 256 * 0.25**2 / 1e6, rel=0.05)
    assert view["mask"] is not None
    assert Result(tmp_path / "whole/a").view()["mask"] is None
    assert not (tmp_path / "whole/a/tissue.geojson").exists()


def test_glass_of_a_large_picture_costs_nothing(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = np.full((2100, 2100, 3), GLASS, np.uint8)
    blank = tmp_path / "blank.tif"
    tifffile.imwrite(blank, image, photometric="rgb", tile=(256, 256), resolution=(40_000, 40_000))
    image[800:1000, 800:1000] = generate(200, 200, nuclei=20, seed=3).image
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, image, photometric="rgb", tile=(256, 256))
    command = [f"--out={tmp_path}", "--mpp=0.25", f"--server={server.grpc_url}"]
    before = answered(server)
    assert main(["segment", str(path), *command]) == 0
    assert answered(server) - before <= 16 + 1  # of a hundred
    assert len(centroids(tmp_path / "large")) > 5
    assert Result(tmp_path / "large").view()["mm2"] < 0.02

    capsys.readouterr()
    before = answered(server)
    assert main(["segment", str(blank), *command]) == 1
    assert answered(server) - before == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"tsfd: {blank} has no tissue that stands out from the glass: outline it with --tissue "
        "(in Python tissue=), or segment everything with --no-tissue (everywhere=True)."
    )


def test_a_class_of_the_outline_is_chosen_wherever_options_are(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), generate(300, 600, nuclei=90, seed=6).image[..., ::-1])
    parts = [("Tumor", 0, 280), ("Stroma", 320, 600)]
    outline = tmp_path / "outline.geojson.gz"
    outline.write_bytes(
        gzip.compress(
            json.dumps(
                [
                    {
                        "type": "Feature",
                        "geometry": {
                            "type": "Polygon",
                            "coordinates": [[[a, 0], [b, 0], [b, 300], [a, 300], [a, 0]]],
                        },
                        "properties": {"classification": {"name": name}},
                    }
                    for name, a, b in parts
                ]
            ).encode()
        )
    )
    (tmp_path / "run.toml").write_text(f'tissue = "{outline}"\ntissue-class = "Stroma"')
    (tmp_path / "slides.csv").write_text(
        "slide,tissue,tissue_class\na.png,outline.geojson.gz,Stroma\n"
    )
    common = ["segment", "--mpp=0.25", f"--server={server.grpc_url}"]
    image, chosen = str(tmp_path / "a.png"), [f"--tissue={outline}", "--tissue-class=Stroma"]
    for name, said in {
        "line": [image, *chosen],
        "file": [image, f"--config={tmp_path / 'run.toml'}"],
        "table": [f"--slides={tmp_path / 'slides.csv'}"],
    }.items():
        assert main([*common, *said, f"--out={tmp_path / name}"]) == 0
        x = centroids(tmp_path / name / "a")[:, 0]
        assert len(x) > 10
        assert x.min() >= 320
    options = {"mpp": 0.25, "tissue": outline, "tissue_class": "Tumor"}
    segment_image(image, tmp_path / "python", server.grpc_url, **options)
    assert centroids(tmp_path / "python/a")[:, 0].max() < 312  # the mask's pixels have 8 µm

    capsys.readouterr()
    again = [image, f"--tissue={outline}", "--tissue-class=Tumor", f"--out={tmp_path / 'line'}"]
    assert main([*common, *again]) == 1
    assert capsys.readouterr().err == (
        f'tsfd: {tmp_path}/line/a was started with tissue class "Stroma", not "Tumor": choose '
        "another --out (in Python out=), or remove the folder.\n"
    )


def test_a_class_without_an_outline_and_an_outline_of_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", "a.png", f"--out={tmp_path}", "--tissue-class=Tumor"]) == 1
    alone = (
        "The class 'Tumor' needs an outline that has it: name the GeoJSON file with --tissue (in "
        "Python tissue=)."
    )
    assert capsys.readouterr().err == f"tsfd: {alone}\n"
    with pytest.raises(TsfdError, match=re.escape(alone)):
        segment_image("a.png", tmp_path, tissue_class="Tumor")
    with pytest.raises(TsfdError) as caught:
        segment_image("a.png", tmp_path, tissue="b.geojson", everywhere=True)
    assert str(caught.value) == (
        "Segment either what b.geojson outlines, or everything: drop one of the two."
    )


def test_an_outline_that_cannot_be_used_begins_nothing(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), generate(300, 300, nuclei=40, seed=6).image[..., ::-1])
    outline = tmp_path / "outline.geojson"
    command = ["segment", str(tmp_path / "a.png"), "--mpp=0.25", f"--out={tmp_path}"]
    command += [f"--server={server.grpc_url}", f"--tissue={outline}"]
    for corners in (None, [[900, 900], [990, 900], [990, 990], [900, 900]]):
        outline.write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
        assert main(command) == 1
        assert str(outline) in capsys.readouterr().err
    corners = [[64, 0], [200, 0], [200, 300], [64, 300], [64, 0]]
    outline.write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
    assert main(command) == 0


def test_slides_leave_out_what_lies_beyond_the_outline(
    server: TritonServer, tmp_path: Path
) -> None:
    path = tmp_path / "slide.svs"
    image = generate(300, 600, nuclei=90, seed=6).image
    tifffile.imwrite(
        *(path, image),
        photometric="rgb",
        tile=(128, 128),
        description="Aperio Image Library |AppMag = 40|MPP = 0.25",
        metadata=None,
    )
    corners = [[64, 0], [320, 0], [320, 300], [64, 300], [64, 0]]
    (tmp_path / "outline.geojson").write_text(
        json.dumps({"type": "Polygon", "coordinates": [corners]})
    )
    command = ["segment", str(path), f"--out={tmp_path}", f"--server={server.grpc_url}"]
    assert main([*command, f"--tissue={tmp_path / 'outline.geojson'}"]) == 0
    found = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "slide/nuclei.parquet")
    assert len(found) > 20
    pixel = 600 / 19  # of the tissue, about 8 µm: those that the outline touches belong to it
    assert min(found["centroid_x"].to_pylist()) >= 2 * pixel
    assert max(found["centroid_x"].to_pylist()) < 11 * pixel
    summary = json.loads((tmp_path / "slide/summary.json").read_text())
    assert summary["nuclei"] == len(found)
