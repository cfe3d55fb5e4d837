"""Vector tiles hold every nucleus with its corners, as another decoder reads them."""

from __future__ import annotations

import gzip
from pathlib import Path

import mapbox_vector_tile
import numpy as np
import pytest
from pmtiles.reader import MmapSource, Reader, all_tiles
from shapely import Polygon

from tests.client.export.run_folder import finished
from tests.client.made import PITCH, field
from training.target import CLASSES
from tsfd_client.export import export
from tsfd_client.nuclei.table import read_batches, rings_of
from tsfd_client.view.zooms import Zooms

SQUARES = 70  # of 40 pixels at 0.25 mpp: two tiles and a half at 1 micrometre per pixel


def decoded(path: Path) -> dict[tuple[int, int, int], list[dict]]:
    with path.open("rb") as file:
        contents = list(all_tiles(MmapSource(file)))
    tiles = {
        place: mapbox_vector_tile.decode(
            gzip.decompress(content), default_options={"y_coord_down": True}
        )["nuclei"]
        for place, content in contents
    }
    assert len(tiles) == len(contents)
    return {
        place: [feature | {"extent": layer["extent"]} for feature in layer["features"]]
        for place, layer in tiles.items()
    }


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_every_nucleus_is_in_every_tile_that_it_touches(tmp_path: Path, scale: float) -> None:
    run = finished(tmp_path, scale, field(SQUARES), SQUARES * PITCH)
    side = round(SQUARES * PITCH * scale)
    zooms = Zooms(side, side, 0.25 / scale)
    tiles = decoded(export(run, "pmtiles"))
    assert {z for z, _, _ in tiles} == {zooms.fine, zooms.exact}

    (table, *others) = [*read_batches(run / "nuclei.parquet")]
    for part in (table, *others):
        offsets, points = rings_of(part)
        for row in range(0, len(part), 7):
            ring = points[offsets[row] : offsets[row + 1]]
            expected = Polygon(ring)
            x0, y0, x1, y1 = expected.bounds
            size = zooms.side(zooms.exact)
            for x in range(int(x0 // size), int(np.ceil(x1 / size))):
                for y in range(int(y0 // size), int(np.ceil(y1 / size))):
                    (found,) = (
                        feature
                        for feature in tiles[zooms.exact, x, y]
                        if feature["id"] == part["id"][row].as_py()
                    )
                    assert found["properties"] == {
                        "class": CLASSES.index(part["class"][row].as_py()),
                        "prob": round(100 * part["class_prob"][row].as_py()),
                    }
                    corners = np.array(found["geometry"]["coordinates"][0]) * size
                    drawn = Polygon(corners / found["extent"] + [x * size, y * size])
                    assert drawn.equals(expected)
                    assert len(corners) <= len(ring)


def test_fine_outlines_are_near(tmp_path: Path) -> None:
    """With far fewer corners."""
    run = finished(tmp_path, 1.0, field(SQUARES), SQUARES * PITCH)
    zooms = Zooms(SQUARES * PITCH, SQUARES * PITCH, 0.25)
    tiles = decoded(export(run, "pmtiles"))
    table = next(read_batches(run / "nuclei.parquet"))
    offsets, points = rings_of(table)
    size, overlaps, shares = zooms.side(zooms.fine), [], []
    for feature in tiles[zooms.fine, 0, 0]:
        row = feature["id"] - 1
        if row < len(table):
            corners = np.array(feature["geometry"]["coordinates"][0]) * size / feature["extent"]
            right = points[slice(*offsets[row : row + 2])]
            drawn = Polygon(corners).buffer(0)
            overlaps.append(
                drawn.intersection(Polygon(right)).area / drawn.union(Polygon(right)).area
            )
            shares.append(len(corners) / len(right))
    assert np.mean(overlaps) > 0.9
    assert np.mean(shares) < 0.4


def test_a_slide_without_nuclei(empty: Path) -> None:
    with export(empty, "pmtiles").open("rb") as file:
        reader = Reader(MmapSource(file))
        assert reader.header()["addressed_tiles_count"] == 1
