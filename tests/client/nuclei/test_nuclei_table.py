"""nuclei.parquet says what the nuclei are, to every reader its users have."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import geopandas
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from releases import FIVE

from tests.client import made
from training.target import CLASSES
from tsfd_client.nuclei.table import (
    SCHEMA,
    Writer,
    count,
    from_nuclei,
    read_batches,
    read_info,
    rings_of,
)
from tsfd_client.stitching.join import Nucleus

SCALE = 1.25
BLOCKS = made.field(9)
NUCLEI = [
    nucleus for block in BLOCKS for nucleus in sorted(block, key=lambda nucleus: nucleus.place)
]
PIXELS = 9 * made.PITCH


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "nuclei.parquet"
    made.write(path, BLOCKS, SCALE, PIXELS)
    return path


def test_geopandas_reads_valid_outlines_with_what_was_measured(parquet: Path) -> None:
    frame = geopandas.read_parquet(parquet)

    assert list(frame.columns) == [name for name in SCHEMA.names if name != "bbox"]
    assert frame.crs is None
    assert frame.id.tolist() == list(range(1, len(NUCLEI) + 1))
    assert frame.is_valid.all()
    assert frame["class"].tolist() == [CLASSES[n.nucleus_class] for n in NUCLEI]
    assert np.allclose(frame.class_prob, [n.class_prob for n in NUCLEI])
    pixels = np.array([np.count_nonzero(n.mask) for n in NUCLEI])
    assert np.allclose(frame.area_um2, pixels * 0.25**2)
    assert np.allclose(frame.area, pixels * SCALE**2)
    centres = np.array(
        [np.argwhere(n.mask).mean(axis=0) + np.array((n.y, n.x)) + 0.5 for n in NUCLEI]
    )
    assert np.allclose(frame[["centroid_y", "centroid_x"]], centres * SCALE)
    corners = [(n.x, n.y, n.x + n.mask.shape[1], n.y + n.mask.shape[0]) for n in NUCLEI]
    assert np.allclose(frame.bounds, np.array(corners) * SCALE)


def test_a_box_is_read_by_the_covering_column(parquet: Path) -> None:
    frame = geopandas.read_parquet(parquet)

    part = geopandas.read_parquet(parquet, bbox=(100, 100, 200, 200))

    expected = frame[frame.intersects(shapely.box(100, 100, 200, 200))]
    assert 0 < len(part) < len(frame)
    assert part.id.tolist() == expected.id.tolist()


def test_pandas_and_duckdb_read_it(parquet: Path) -> None:
    counts = pd.read_parquet(parquet, columns=["class"])["class"].value_counts().to_dict()

    found = duckdb.sql(
        f"select class, count(*) from '{parquet}' where bbox.xmin >= 0 group by class"
    ).fetchall()

    assert dict(found) == counts
    assert sum(counts.values()) == len(NUCLEI)


def test_metadata_describe_geometry_and_slide(parquet: Path) -> None:
    metadata = pq.read_metadata(parquet).metadata
    geo = json.loads(metadata[b"geo"])
    geometry = geo["columns"][geo["primary_column"]]

    assert geo["version"] == "1.1.0"
    assert geometry["crs"] is None
    assert geometry["bbox"] == geopandas.read_parquet(parquet).total_bounds.tolist()
    assert read_info(parquet) == made.info(SCALE, PIXELS)
    assert json.loads(metadata[b"tsfd"])["scale"] == SCALE


def test_a_row_group_per_block_gives_the_rings_back(parquet: Path) -> None:
    batches = list(read_batches(parquet))

    assert [len(batch) for batch in batches] == [len(block) for block in BLOCKS]
    assert count(parquet) == len(NUCLEI)
    frame = geopandas.read_parquet(parquet)
    offsets, points = rings_of(batches[1].slice(2))
    rows = frame.geometry[len(BLOCKS[0]) + 2 : len(BLOCKS[0]) + len(BLOCKS[1])]
    assert len(offsets) == len(rows) + 1
    for row, geometry in enumerate(rows):
        ring = points[offsets[row] : offsets[row + 1]]
        assert np.array_equal(ring, geometry.exterior.coords)
        assert np.array_equal(ring[0], ring[-1])


def test_the_order_of_nuclei_leaves_no_trace(parquet: Path, tmp_path: Path) -> None:
    made.write(tmp_path / "again.parquet", [block[::-1] for block in BLOCKS], SCALE, PIXELS)

    assert (tmp_path / "again.parquet").read_bytes() == parquet.read_bytes()


def test_a_slide_without_nuclei_has_a_table(tmp_path: Path) -> None:
    path = tmp_path / "nuclei.parquet"

    made.write(path, [[], []], 1.0, 100)

    assert list(read_batches(path)) == []
    assert len(geopandas.read_parquet(path)) == 0
    assert from_nuclei([], scale=1.0, mpp=0.25, release=FIVE).schema == SCHEMA.remove(0)
    assert duckdb.sql(f"select count(*) from '{path}'").fetchall() == [(0,)]


def test_what_is_not_finished_does_not_appear(parquet: Path, tmp_path: Path) -> None:
    path = tmp_path / "nuclei.parquet"
    path.write_bytes(b"before")

    with pytest.raises(AttributeError), Writer(path, made.info(1.0, 100)) as writer:
        writer.write(from_nuclei([*BLOCKS[0], None], scale=1.0, mpp=0.25, release=FIVE))

    assert [entry.name for entry in tmp_path.iterdir()] == ["nuclei.parquet"]
    assert path.read_bytes() == b"before"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="No such file"),
        Writer(tmp_path / "missing" / "nuclei.parquet", made.info(1.0, 100)),
    ):
        pass


def test_in_an_enlarged_image_specks_of_few_of_its_own_pixels_are_no_nuclei() -> None:
    """20 pixels of a 20x scan are 80 of the network; at the network's own scale 20 are enough."""
    large, small = (Nucleus(0, x, np.ones((4, n), bool), 1, 0.9) for x, n in ((0, 20), (30, 19)))

    enlarged = from_nuclei([large, small], scale=0.5, mpp=0.5, release=FIVE)
    native = from_nuclei([large, small], scale=1.0, mpp=0.25, release=FIVE)

    assert enlarged["area_um2"].to_pylist() == [5.0]
    assert native["area_um2"].to_pylist() == [5.0, 4.75]
