"""CSV and GeoJSON say what the nuclei are."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.client.export.run_folder import NUCLEI
from training.target import CLASSES
from tsfd_client.export import export
from tsfd_client.nuclei.table import SCHEMA, Writer, read_info


def test_csv_has_a_row_per_nucleus_in_pixels_of_level_0(folder: Path) -> None:
    with export(folder, "csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    head = "id,class,class_prob,centroid_x,centroid_y,x_min,y_min,x_max,y_max,area_um2"
    assert ",".join(rows[0]) == head
    assert [int(row["id"]) for row in rows] == list(range(1, len(NUCLEI) + 1))
    assert [row["class"] for row in rows] == [CLASSES[n.nucleus_class] for n in NUCLEI]
    assert [float(row["x_min"]) for row in rows] == [n.x / 2 for n in NUCLEI]
    assert [float(row["y_max"]) for row in rows] == [(n.y + n.mask.shape[0]) / 2 for n in NUCLEI]
    areas = [np.count_nonzero(n.mask) / 16 for n in NUCLEI]
    assert np.allclose([float(row["area_um2"]) for row in rows], areas)
    table = geopandas.read_parquet(folder / "nuclei.parquet")
    for name in ("centroid_x", "centroid_y", "class_prob"):
        assert np.allclose([float(row[name]) for row in rows], table[name])


def test_csv_without_nuclei_is_its_head(empty: Path) -> None:
    assert export(empty, "csv").read_text().count("\n") == 1


def _renamed(folder: Path, names: list[str]) -> None:
    """Give the nuclei classes of these names instead of the network's."""
    parquet = folder / "nuclei.parquet"
    info, table = read_info(parquet), pq.read_table(parquet)
    given = dict(zip(info.release.class_names[1:], names, strict=True))
    classes = pa.array([given[name] for name in table["class"].to_pylist()])
    column = SCHEMA.get_field_index("class")
    kinds = tuple(replace(kind, name=given[kind.name]) for kind in info.release.classes)
    release = replace(info.release, classes=kinds, network_classes=CLASSES[1:])
    with Writer(parquet, replace(info, release=release)) as writer:
        writer.write(table.set_column(column, SCHEMA.field(column), classes))


NAMES = ['plasma, "big"', "neoplastic", "CD8+ T cell", "line\nbreak", "PD-L1"]


def test_names_of_own_classes_come_back_from_csv(folder: Path) -> None:
    _renamed(folder, NAMES)
    with export(folder, "csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [NAMES[n.nucleus_class - 1] for n in NUCLEI]
    assert [row["class"] for row in rows] == expected
    frame = pd.read_csv(folder / "nuclei.csv")
    assert frame["class"].tolist() == expected
    assert frame["id"].tolist() == list(range(1, len(NUCLEI) + 1))


def test_geojson_spells_own_classes_as_they_are(folder: Path) -> None:
    """And the network's as QuPath does."""
    _renamed(folder, NAMES)
    features = json.loads(export(folder, "geojson").read_text())["features"]
    spelt = {f["properties"]["classification"]["name"] for f in features}
    assert spelt == {*NAMES, "Neoplastic"} - {"neoplastic"}


def test_geojson_is_what_geopandas_reads(folder: Path) -> None:
    path = export(folder, "geojson")

    frame = geopandas.read_file(path)
    table = geopandas.read_parquet(folder / "nuclei.parquet")
    assert path == folder / "nuclei.geojson"
    assert len(frame) == len(NUCLEI)
    assert frame.geometry.geom_equals(table.geometry.set_crs(frame.crs)).all()


def test_geojson_without_nuclei_is_a_collection(empty: Path) -> None:
    assert json.loads(export(empty, "geojson").read_text())["features"] == []
