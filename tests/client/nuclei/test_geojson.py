"""nuclei.geojson.gz is what QuPath imports."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from releases import FIVE

from tests.client import made
from training.target import CLASSES
from tsfd_client import Nuclei, write_geojson
from tsfd_client.nuclei import geojson


def _as_nuclei(parquet: Path, scale: float) -> Nuclei:
    frame = geopandas.read_parquet(parquet)
    return Nuclei(
        instance_map=np.zeros((1, 1), np.int32),
        classes=np.array([CLASSES.index(name) for name in frame["class"]], np.uint8),
        class_probs=frame.class_prob.to_numpy(),
        centroids=frame[["centroid_x", "centroid_y"]].to_numpy(),
        boxes=frame.bounds.to_numpy(),
        contours=[np.array(polygon.exterior.coords)[:-1] for polygon in frame.geometry],
        areas_um2=frame.area_um2.to_numpy(),
        tissue_probs=np.zeros(19, np.float32),
        mpp=0.25 / scale,
        scale=scale,
        release=FIVE,
    )


@pytest.mark.parametrize("scale", [1.0, 1.25, 0.5008, 0.8333333333333334])
def test_the_features_are_those_of_a_small_image(scale: float, tmp_path: Path) -> None:
    parquet, path = tmp_path / "nuclei.parquet", tmp_path / "nuclei.geojson.gz"
    made.write(parquet, made.field(6), scale, 6 * made.PITCH)

    geojson.write(parquet, path)

    write_geojson(_as_nuclei(parquet, scale), tmp_path / "nuclei.geojson")
    read = json.loads(gzip.decompress(path.read_bytes()))
    assert read == json.loads((tmp_path / "nuclei.geojson").read_text(encoding="utf-8"))
    rings = [feature["geometry"]["coordinates"][0] for feature in read["features"]]
    assert all(ring[0] == ring[-1] for ring in rings)
    assert shapely.is_valid([shapely.Polygon(ring) for ring in rings]).all()


def test_large_coordinates_are_numbers(tmp_path: Path) -> None:
    parquet, path = tmp_path / "nuclei.parquet", tmp_path / "nuclei.geojson.gz"
    far = made.draw(np.random.default_rng(0), 1_234_560, 2_000_000)
    made.write(parquet, [[far]], 1.25, 3_000_000)

    geojson.write(parquet, path)

    (feature,) = json.loads(gzip.decompress(path.read_bytes()))["features"]
    ring = np.array(feature["geometry"]["coordinates"][0])
    assert ring.min(axis=0).tolist() == [far.x * 1.25, far.y * 1.25]


def test_the_same_nuclei_give_the_same_bytes(tmp_path: Path) -> None:
    parquet = tmp_path / "nuclei.parquet"
    made.write(parquet, made.field(3), 1.0, 3 * made.PITCH)

    geojson.write(parquet, tmp_path / "a.geojson.gz")
    geojson.write(parquet, tmp_path / "b.geojson.gz")

    data = (tmp_path / "a.geojson.gz").read_bytes()
    assert data == (tmp_path / "b.geojson.gz").read_bytes()
    assert data[3] == 0, "no file name"
    assert data[4:8] == bytes(4), "no time"


def test_a_slide_without_nuclei_is_an_empty_collection(tmp_path: Path) -> None:
    parquet, path = tmp_path / "nuclei.parquet", tmp_path / "nuclei.geojson.gz"
    made.write(parquet, [], 1.0, 100)

    geojson.write(parquet, path)

    assert json.loads(gzip.decompress(path.read_bytes()))["features"] == []
