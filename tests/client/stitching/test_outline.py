"""Outlines are valid polygons that hold exactly the pixels of their nuclei."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from scipy import ndimage

from samples import histology
from serving.server import TritonServer
from tsfd_client import Client, Nuclei, read_image, save
from tsfd_client.pixels.box import Box
from tsfd_client.stitching.outline import closed_outlines, make_solid, outline, solid_piece

_RAGGED = nps.arrays(np.int32, st.tuples(*[st.integers(1, 12)] * 2), elements=st.integers(0, 3))


def _rasterised(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Instance map of polygons, by the centres of pixels."""
    ys, xs = np.indices(shape) + 0.5
    instance_map = np.zeros(shape, np.int32)
    for number, ring in enumerate(rings, start=1):
        polygon = shapely.Polygon(ring)
        x0, y0, x1, y1 = np.array(polygon.bounds).round().astype(int)
        window = np.s_[max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1]
        instance_map[window][shapely.contains_xy(polygon, xs[window], ys[window])] = number
    return instance_map


@given(ragged=_RAGGED)
@settings(deadline=None)
def test_ragged_instances_get_valid_outlines_that_give_them_back(ragged: np.ndarray) -> None:
    height, width = ragged.shape
    ids = np.unique(ragged[ragged > 0]).tolist()
    instance_map = ragged.copy()

    boxes = make_solid(instance_map, dict.fromkeys(ids, Box(0, 0, height, width)))

    assert set(boxes) == set(np.unique(instance_map[instance_map > 0]))
    for number, (y0, x0, y1, x1) in boxes.items():
        mask = instance_map == number
        pieces, count = ndimage.label(ragged == number)
        largest = max(np.bincount(pieces.ravel())[1:])
        kept = np.bincount(pieces[mask], minlength=count + 1)[1:]
        assert kept.max() == largest
        polygon = shapely.Polygon(outline(mask[y0:y1, x0:x1], x0, y0))
        assert polygon.is_valid
        assert polygon.area == np.count_nonzero(mask)
        assert polygon.bounds == (x0, y0, x1, y1)
        assert np.array_equal(_rasterised([polygon.exterior.coords], mask.shape) > 0, mask)


def test_smaller_pieces_go_and_holes_close() -> None:
    instance_map = np.array(
        [
            [1, 1, 1, 0, 2, 2, 2],
            [1, 0, 1, 0, 2, 3, 2],
            [1, 1, 1, 0, 2, 2, 2],
            [0, 0, 0, 1, 0, 0, 0],
        ],
        np.int32,
    )

    boxes = make_solid(instance_map, dict.fromkeys((1, 2, 3), Box(0, 0, 4, 7)))

    # What lies wholly inside another nucleus is a part of it.
    assert instance_map.tolist() == [[1, 1, 1, 0, 2, 2, 2]] * 3 + [[0] * 7]
    assert boxes == {1: (0, 0, 3, 3), 2: (0, 4, 3, 7)}


def test_pieces_that_touch_at_a_corner_are_two() -> None:
    instance_map = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], np.int32)

    make_solid(instance_map, {1: Box(0, 0, 3, 3)})

    assert instance_map.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


_MASKS = nps.arrays(bool, st.tuples(*[st.integers(1, 9)] * 2), elements=st.booleans())


@given(masks=st.lists(_MASKS.filter(np.any)))
@settings(deadline=None)
def test_outlines_of_many_masks_are_those_of_each(masks: list[np.ndarray]) -> None:
    pieces = [solid_piece(mask)[2] for mask in masks]

    offsets, points = closed_outlines(pieces)

    rings = [points[begin:end] for begin, end in pairwise(offsets)]
    assert len(rings) == len(pieces)
    for ring, piece in zip(rings, pieces, strict=True):
        assert np.array_equal(ring[:-1], outline(piece))
        assert np.array_equal(ring[-1], ring[0])


@pytest.fixture(scope="module")
def demo_image() -> np.ndarray:
    return read_image(histology.path())[0]


@pytest.fixture(scope="module", params=[0.25, 0.5, 0.31])
def nuclei(request: pytest.FixtureRequest, server: TritonServer, demo_image: np.ndarray) -> Nuclei:
    with Client(server.grpc_url) as client:
        return client.segment(demo_image, mpp=request.param)


def test_rasterised_outlines_give_the_map_back(nuclei: Nuclei) -> None:
    # At 0.5 mpp the centres of pixels lie on the edges of those that the network saw.
    inside = [contour - 1e-3 for contour in nuclei.contours]

    rasterised = _rasterised(inside, nuclei.instance_map.shape)

    assert np.array_equal(rasterised, nuclei.instance_map)


def test_geojson_is_valid_and_agrees_with_the_table(
    nuclei: Nuclei, demo_image: np.ndarray, tmp_path: Path
) -> None:
    save(nuclei, demo_image, tmp_path)

    features = json.loads((tmp_path / "nuclei.geojson").read_text())["features"]
    with (tmp_path / "nuclei.csv").open() as file:
        table = list(csv.DictReader(file))
    polygons = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    height, width = demo_image.shape[:2]
    assert len(polygons) == len(table) > 50
    assert all(polygon.is_valid for polygon in polygons)
    for polygon, row in zip(polygons, table, strict=True):
        assert polygon.area * nuclei.mpp**2 == pytest.approx(float(row["area_um2"]), rel=0.01)
        assert shapely.box(0, 0, width, height).covers(polygon)
        box = [float(row[side]) for side in ("x_min", "y_min", "x_max", "y_max")]
        assert polygon.bounds == pytest.approx(box, abs=0.01)
        centroid = float(row["centroid_x"]), float(row["centroid_y"])
        assert (polygon.centroid.x, polygon.centroid.y) == pytest.approx(centroid, abs=0.01)
