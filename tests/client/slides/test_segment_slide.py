"""`tsfd segment` of a slide: what it writes, and that it is what an image in memory gives."""

from __future__ import annotations

import csv
import gzip
import json
from itertools import pairwise
from pathlib import Path

import cv2
import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest

from samples.synthetic import generate
from serving.server import TritonServer
from tests.client.commands import answered
from tests.client.conftest import Writer
from tests.client.slide_files import spoil_tile
from tsfd_client import Client
from tsfd_client.cli import main
from tsfd_client.slides.events import read_events

LONG = (300, 4200)  # two blocks, and two rows of tiles
NAMES = ("part", "scan")
OUTPUTS = ["DONE", "events.jsonl", "nuclei.geojson.gz", "nuclei.parquet"]
OUTPUTS += ["origin.json", "overview.png", "run.json", "summary.json", "tissue.geojson"]


@pytest.fixture(scope="module")
def strip() -> np.ndarray:
    """Tissue with glass in the middle."""
    image = generate(*LONG, nuclei=500, seed=5).image
    image[:, 1400:2600] = 244
    return image


def test_it_finds_what_the_image_in_memory_gives(
    server: TritonServer,
    strip: np.ndarray,
    tiff_slide: Writer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tiff_slide("strip.tif", image=strip, mpp=0.25)
    out = tmp_path / "out"
    command = ["segment", str(path), f"--out={out}", f"--server={server.grpc_url}", "--no-tissue"]
    assert main(command) == 0
    with Client(server.grpc_url) as client:
        nuclei = client.segment(strip, mpp=0.25)

    frame = geopandas.read_parquet(out / "strip" / "nuclei.parquet")
    assert len(nuclei) > 300
    assert pq.read_table(out / "strip/nuclei.parquet").equals(nuclei.table())
    drawn = np.zeros(LONG, np.int32)
    for number, polygon in enumerate(frame.geometry, start=1):
        corners = np.array(polygon.exterior.coords)
        assert np.array_equal(corners, corners.round())
        inside = np.zeros(LONG, np.uint8)
        _fill(inside, corners.astype(int))
        drawn[inside > 0] = number
    assert np.array_equal(drawn, nuclei.instance_map)

    assert sorted(path.name for path in (out / "strip").iterdir()) == OUTPUTS
    summary = json.loads((out / "strip" / "summary.json").read_text())
    assert summary["nuclei"] == len(nuclei)
    assert {n: c["nuclei"] for n, c in summary["classes"].items()} == nuclei.counts()
    area = LONG[0] * LONG[1] * 0.25**2 / 1e6
    assert summary["segmented_mm2"] == pytest.approx(area, rel=1e-3)
    assert summary["nuclei_per_mm2"] == pytest.approx(len(nuclei) / area, rel=1e-3)
    assert summary["served"] == nuclei.release.to_dict()
    with gzip.open(out / "strip" / "nuclei.geojson.gz") as file:
        assert len(json.load(file)["features"]) == len(nuclei)
    assert capsys.readouterr().out.startswith(f"{path}: {len(nuclei)} nuclei (")

    # Again: nothing is asked of the server but whether it is there.
    before = (out / "strip" / "events.jsonl").read_bytes()
    assert main(command) == 0
    assert (out / "strip" / "events.jsonl").read_bytes() == before


def test_of_a_part_of_the_glass_coordinates_begin_at_its_corner(
    server: TritonServer, picture: np.ndarray, tiff_slide: Writer, scn_slide: Writer, tmp_path: Path
) -> None:
    """As in QuPath: the same nuclei as of a file that holds that part alone, in the same places."""
    paths = [tiff_slide("part.tif"), scn_slide(corner=(1111, 777)).rename(tmp_path / "scan.scn")]
    outline = [[[0, 0], [400, 0], [400, 600], [0, 600], [0, 0]]]
    tissue = tmp_path / "outline.geojson"
    tissue.write_text(json.dumps({"type": "Polygon", "coordinates": outline}))
    command = ["segment", *map(str, paths), f"--out={tmp_path}", f"--tissue={tissue}"]
    assert main([*command, f"--server={server.grpc_url}"]) == 0

    part, scan = (pq.read_table(tmp_path / name / "nuclei.parquet") for name in NAMES)
    assert len(part) > 40
    assert scan.equals(part)
    with gzip.open(tmp_path / "scan" / "nuclei.geojson.gz") as file:
        features = json.load(file)["features"]
    corners = np.concatenate([f["geometry"]["coordinates"][0] for f in features])
    assert corners.min() >= 0
    assert corners[:, 0].max() <= picture.shape[1]
    first, second = (json.loads((tmp_path / name / "summary.json").read_text()) for name in NAMES)
    assert {**second, "slide": None} == {**first, "slide": None}
    assert (second["width"], second["height"]) == (533, 701)


def test_glass_costs_nothing_and_is_outlined(
    server: TritonServer, strip: np.ndarray, tiff_slide: Writer, tmp_path: Path
) -> None:
    path = tiff_slide("strip.tif", image=strip, mpp=0.25)
    before = answered(server)
    assert main(["segment", str(path), f"--out={tmp_path}", f"--server={server.grpc_url}"]) == 0

    (begun, *events) = read_events(tmp_path / "strip")
    everywhere = 2 * 19
    assert begun["tiles"] == everywhere - 2 * 3
    # Within the margin of the tissue, too, lie tiles of nothing but glass.
    asked = sum(event["asked"] for event in events if event["event"] == "block")
    assert asked == everywhere - 2 * 4
    between = sum(event["between"] for event in events if event["event"] == "block")
    # And the patch that asks whether it is there.
    assert answered(server) - before == asked + between + 1
    summary = json.loads((tmp_path / "strip" / "summary.json").read_text())
    whole = LONG[0] * LONG[1] * 0.25**2 / 1e6
    assert 0.7 * whole < summary["segmented_mm2"] < 0.8 * whole
    overview = cv2.imread(str(tmp_path / "strip" / "overview.png"))
    outline = np.array((60, 150, 0))  # BGR
    assert np.all(overview[:100, :720] == outline, axis=2).sum() > 100
    with (tmp_path / "summary.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["slide"], row["state"], row["error"]) == ("strip", "done", "")
    assert int(row["between"]) == between
    assert int(row["nuclei"]) == summary["nuclei"]
    assert float(row["mm2"]) == summary["segmented_mm2"]


def test_bad_slides_cost_a_line_each(
    server: TritonServer,
    strip: np.ndarray,
    tiff_slide: Writer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    part = np.ascontiguousarray(strip[:, :600])
    good = tiff_slide("good.tif", image=part)
    unscaled = tiff_slide("unscaled.tif", image=part, mpp=None)
    torn = tiff_slide("torn.tif", image=part, compression="zlib")
    spoil_tile(torn, 7)
    blank = tiff_slide("blank.tif", image=np.full_like(part, 243))
    foreign = tiff_slide("foreign.tif", image=part)
    table = tmp_path / "slides.csv"
    names = [path.name for path in (unscaled, torn, blank, foreign, good)]
    table.write_text("\n".join(["slide,mpp", "missing.svs,", *(f"{name}," for name in names)]))
    out = tmp_path / "out"
    (out / "foreign/blocks").mkdir(parents=True)
    (out / "foreign/blocks/r000_c000.open.parquet").touch()  # something is kept
    (out / "foreign" / "run.json").write_text('{"slide": "another"}')

    command = ["segment", f"--out={out}", f"--server={server.grpc_url}"]

    assert main([*command, f"--slides={table}"]) == 1

    lines = [line.removeprefix("tsfd: ") for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == f"There is no file {tmp_path / 'missing.svs'}."
    assert lines[1].startswith(f"{unscaled} is a slide that does not say its scale: give its")
    assert lines[2].startswith(f"{torn} cannot be read at x ")
    assert lines[3] == (
        f"{blank} has no tissue that stands out from the glass: outline it with --tissue "
        "(in Python tissue=), or segment everything with --no-tissue (everywhere=True)."
    )
    assert lines[4].startswith(f"{out / 'foreign'} was started with another image of this name: ")
    assert lines[5] == "5 of 6 images failed."
    with (out / "summary.csv").open() as file:
        rows = {row["slide"]: row for row in csv.DictReader(file)}
    states = {slide: row["state"] for slide, row in rows.items()}
    assert states == dict.fromkeys(("unscaled", "torn", "blank"), "failed") | {"good": "done"}
    assert rows["torn"]["error"] == lines[2]
    assert not (out / "missing").exists()

    # The table says what the file does not.
    table.write_text(f"slide,mpp\n{unscaled.name},0.25\n")
    assert (
        main(["segment", f"--slides={table}", f"--out={out}", f"--server={server.grpc_url}"]) == 0
    )


def _fill(mask: np.ndarray, corners: np.ndarray) -> None:
    """Fill a ring along the edges of pixels: between its upright edges, row by row."""
    for (x0, y0), (x1, y1) in pairwise(corners):
        if x0 == x1:
            mask[min(y0, y1) : max(y0, y1), x0:] ^= 1
