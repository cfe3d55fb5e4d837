"""Shapes, stains and neighbours of nuclei, against scikit-image and distances in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from skimage.measure import regionprops

from samples.synthetic import generate
from tests.client import made
from tests.client.export.run_folder import finished, label_image
from tests.client.slide_files import write_tiff
from training.model.preprocess import STAIN_FROM_OD
from tsfd_client.errors import OutputError
from tsfd_client.files import MEASURES
from tsfd_client.nuclei import measures, stains
from tsfd_client.nuclei.neighbours import RADII, Neighbourhood
from tsfd_client.nuclei.table import boxes_of, classes_of, read_batches, read_info
from tsfd_client.pixels.opening import open_image
from tsfd_client.stitching.join import Nucleus

SQUARES = 40
SIDE = SQUARES * made.PITCH  # more than a square that is measured at a time
SMALL = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 7), (3, 3)]  # pixels
BLOCKS = made.field(SQUARES)
BLOCKS[0] = [
    Nucleus(5, 40 * column + 5, np.ones(shape, bool), 1, 0.5) for column, shape in enumerate(SMALL)
]
NUCLEI = [nucleus for block in BLOCKS for nucleus in sorted(block, key=lambda n: n.place)]


def measured(folder: Path, scale: float = 1.0) -> pd.DataFrame:
    """Measure a result that lies beside its slide."""
    with open_image(folder.with_suffix(".tif"), 0.25 / scale) as slide:
        measures.write(folder, slide.at(0.25), lambda nuclei: None)
    return pd.read_parquet(folder / MEASURES)


def made_result(path: Path, scale: float = 1.0, blocks: list[list[Nucleus]] = BLOCKS) -> Path:
    """A result of the slide of that name."""
    side = round(SIDE * scale)
    image = np.tile(generate(400, 400, nuclei=40, seed=3).image, (4, 4, 1))[:side, :side]
    write_tiff(path.with_suffix(".tif"), image, mpp=0.25 / scale)
    path.mkdir()
    return finished(path, scale, blocks, SIDE)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_result(tmp_path_factory.mktemp("measured") / "slide")


@pytest.fixture(scope="module")
def table(result: Path) -> pd.DataFrame:
    return measured(result)


@pytest.mark.filterwarnings("ignore:Failed to get convex hull image")
def test_shapes_are_those_of_regionprops(table: pd.DataFrame) -> None:
    found = regionprops(label_image(NUCLEI, SIDE).astype(np.int64))
    assert table["id"].tolist() == [region.label for region in found]
    lengths = ("perimeter", "axis_major_length", "axis_minor_length")
    for name in lengths:
        expected = [0.25 * getattr(region, name) for region in found]
        assert np.allclose(table[f"{name}_um"], expected, rtol=1e-6, atol=1e-5)
    for name in ("eccentricity", "solidity"):
        expected = [getattr(region, name) for region in found]
        assert np.allclose(table[name], expected, rtol=1e-6, atol=1e-5)
    is_long = table["eccentricity"] > 0.1  # what is round points nowhere
    expected = np.array([region.orientation for region in found])
    apart = np.abs(table["orientation"] - expected)[is_long]
    assert np.minimum(apart, np.pi - apart).max() < 1e-5
    with np.errstate(divide="ignore"):
        circularity = np.array([4 * np.pi * r.area / np.float64(r.perimeter) ** 2 for r in found])
    circularity[np.isinf(circularity)] = np.nan
    assert np.isnan(circularity).any()  # a single pixel
    assert np.allclose(table["circularity"], circularity, equal_nan=True)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_stains_are_those_of_the_pixels_at_the_networks_scale(tmp_path: Path, scale: float) -> None:
    folder = made_result(tmp_path / "slide", scale, BLOCKS[:6])
    table = measured(folder, scale)
    with open_image(tmp_path / "slide.tif", 0.25 / scale) as slide:
        scaled = slide.at(0.25)
        pixels = scaled.read((0, 0, *scaled.grid.shape))
    density = -np.log10(np.maximum(pixels, 1) / 255)
    haematoxylin, eosin, _ = np.moveaxis(density @ STAIN_FROM_OD, 2, 0)
    amounts = {"haematoxylin": haematoxylin, "eosin": eosin}
    nuclei = [n for block in BLOCKS[:6] for n in sorted(block, key=lambda n: n.place)]
    labels = label_image(nuclei, SIDE)[: pixels.shape[0], : pixels.shape[1]]
    for number in table["id"][::17]:
        for name, amount in amounts.items():
            own = amount[labels == number]
            row = table[table["id"] == number].iloc[0]
            assert row[f"{name}_mean"] == pytest.approx(own.mean(), abs=1e-5)
            assert row[f"{name}_std"] == pytest.approx(own.std(), abs=1e-5)
    assert np.array_equal(stains.STAIN_FROM_OD, STAIN_FROM_OD)  # the network's own


def test_neighbours_are_counted_by_class(result: Path, table: pd.DataFrame) -> None:
    nuclei = pq.read_table(result / "nuclei.parquet")
    names = read_info(result / "nuclei.parquet").release.class_names
    places = nuclei.select(["centroid_x", "centroid_y"]).to_pandas().to_numpy() * 0.25
    classes = classes_of(nuclei, names)
    distances = np.hypot(*(places[:, None] - places).transpose(2, 0, 1))
    np.fill_diagonal(distances, np.inf)
    assert np.allclose(table["nearest_um"], distances.min(axis=1))
    for radius in (25, 50):
        for number, name in enumerate(names[1:], start=1):
            expected = ((distances <= radius) & (classes == number)).sum(axis=1)
            assert table[f"neighbours_{radius}um_{name}"].tolist() == expected.tolist()


@pytest.mark.parametrize(("nuclei", "extent"), [(1, 10.0), (2, 5000.0), (3, 0.0), (300, 3000.0)])
def test_lonely_nuclei_find_the_nearest_one_however_far(nuclei: int, extent: float) -> None:
    rng = np.random.default_rng(nuclei)
    places = rng.random((nuclei, 2)) * extent
    places[: nuclei // 10] *= 0.05  # crowded
    classes = rng.integers(1, 6, nuclei).astype(np.uint8)
    some = rng.permutation(nuclei)[: max(1, nuclei // 2)]
    nearest, counts = Neighbourhood(places, classes, 6).of(some)
    distances = np.hypot(*(places[some, None] - places).transpose(2, 0, 1))
    distances[np.arange(len(some)), some] = np.inf
    expected = distances.min(axis=1)
    assert np.allclose(nearest, np.where(np.isinf(expected), np.nan, expected), equal_nan=True)
    for radius, counted in zip(RADII, counts, strict=True):
        is_near = distances <= radius
        expected = [(is_near & (classes == kind)).sum(axis=1) for kind in range(6)]
        assert counted.T.tolist() == np.array(expected).tolist()


def test_values_do_not_depend_on_the_row_groups(
    result: Path, table: pd.DataFrame, tmp_path: Path
) -> None:
    """As a run's blocks are, and as a client writes a picture."""
    other = made_result(tmp_path / "slide", blocks=[NUCLEI])
    boxes = [boxes_of(part) for part in read_batches(result / "nuclei.parquet")]
    again = measured(other)
    nuclei = pq.read_table(other / "nuclei.parquet")
    own, theirs = np.concatenate(boxes), boxes_of(nuclei)
    order = [np.lexsort(each.T) for each in (own, theirs)]
    columns = list(table.columns[1:])
    pd.testing.assert_frame_equal(
        table[columns].iloc[order[0]].reset_index(drop=True),
        again[columns].iloc[order[1]].reset_index(drop=True),
        check_exact=True,
    )


def test_nothing_to_measure(tmp_path: Path) -> None:
    empty = made_result(tmp_path / "slide", blocks=[])
    assert len(measured(empty)) == 0
    assert len(measures.columns_beside(empty / "nuclei.parquet")) == 7 + 4 + 1 + 10


def test_measurements_of_other_nuclei_are_refused(tmp_path: Path) -> None:
    folder = made_result(tmp_path / "slide", blocks=BLOCKS[:2])
    measured(folder)
    earlier = (folder / MEASURES).read_bytes()
    made.write(folder / "nuclei.parquet", BLOCKS[:1], 1.0, SIDE)
    assert not (folder / MEASURES).exists()
    (folder / MEASURES).write_bytes(earlier)
    assert not measures.is_measured(folder)
    with pytest.raises(OutputError, match=r"measures\.parquet is of other nuclei: run `tsfd meas"):
        list(measures.read_batches_with(folder / "nuclei.parquet", ["id"]))
    (folder / MEASURES).write_bytes(earlier[:-10])
    assert not measures.is_measured(folder)
    with pytest.raises(OutputError, match=r"measures\.parquet cannot be read: run `tsfd measure`"):
        measures.columns_beside(folder / "nuclei.parquet")
