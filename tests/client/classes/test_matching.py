"""The nuclei of marks, against polygons of shapely."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from shapely import STRtree

from tests.client import made
from training.target import CLASSES
from tsfd_client.classes.labels import spellings
from tsfd_client.classes.marks import Mark
from tsfd_client.classes.matching import REACH_UM, Marked, distinct, match, said_by_people
from tsfd_client.nuclei.table import read_info

SQUARES = 12
SIDE = SQUARES * made.PITCH
SOURCE = Path("marks.csv")


@pytest.fixture(scope="module", params=[1.0, 2.0])
def parquet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nuclei of a slide at 0.25 and at 0.125 µm per pixel, in many row groups."""
    path = tmp_path_factory.mktemp("nuclei") / "nuclei.parquet"
    made.write(path, made.field(SQUARES), request.param, SIDE)
    return path


@pytest.fixture
def table(parquet: Path) -> dict[str, np.ndarray]:
    read = pq.read_table(parquet)
    return {name: read[name].to_numpy() for name in read.column_names if name != "bbox"}


def points(*said: tuple[float, float, str], kind: str = "point") -> list[Mark]:
    return [
        Mark("first", label, kind, SOURCE, line, float(x), float(y))
        for line, (x, y, label) in enumerate(said, start=2)
    ]


def region(label: str, x0: float, y0: float, x1: float, y1: float, line: int = 1) -> Mark:
    ring = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
    return Mark("first", label, "region", Path("q.geojson"), line, rings=(ring,))


def matched(parquet: Path, marks: list[Mark]) -> Marked:
    return match(marks, parquet, spellings([mark.label for mark in marks], CLASSES[1:]))


def width_of(parquet: Path) -> int:
    return read_info(parquet).width


def test_containment_then_the_nearest_centroid(parquet: Path, table: dict[str, np.ndarray]) -> None:
    outlines = shapely.from_wkb(table["geometry"])
    centroids = np.stack([table["centroid_x"], table["centroid_y"]], axis=1)
    top = centroids.max()
    rng = np.random.default_rng(1)
    places = rng.uniform(0, top, (400, 2))
    marks = points(*((x, y, "tumour") for x, y in places))
    found = matched(parquet, marks)
    place, row = STRtree(outlines).query(shapely.points(places), "within")
    on = dict(zip(place.tolist(), row.tolist(), strict=True))
    assert 50 < len(on) < 350
    reach = 6 / (0.25 * SIDE / width_of(parquet))
    free = [i for i in range(len(places)) if i not in on]
    taken = set(on.values())
    pairs = sorted(
        (float(np.hypot(*(centroids[r] - places[i]))), i, r)
        for i in free
        for r in range(len(centroids))
        if r not in taken
    )
    for distance, i, r in pairs:
        if distance <= reach and i not in on and r not in taken:
            on[i] = r
            taken.add(r)
    assert found.rows.tolist() == sorted(set(on.values()))
    assert set(found.labels) == {"tumour"}
    assert found.misses == [mark for i, mark in enumerate(marks) if i not in on]
    assert found.repeated == len(on) - len(found.rows)
    assert found.problems == []


def test_a_region_and_the_points_in_it(parquet: Path, table: dict[str, np.ndarray]) -> None:
    x, y = table["centroid_x"], table["centroid_y"]
    far = x.max() / 2
    inside = np.flatnonzero((x < far) & (y < far))
    one, other = inside[3], inside[8]
    found = matched(
        parquet,
        [
            region("Stroma", -5, -5, far, far),
            *points((x[one], y[one], "plasma cell"), (x[other], y[other], "not a nucleus")),
        ],
    )
    labels = dict(zip(found.rows.tolist(), found.labels, strict=True))
    assert labels.pop(one) == "plasma cell"
    assert found.not_nuclei.tolist() == [other]
    assert labels == {row: "Stroma" for row in inside if row not in (one, other)}
    assert found.problems == []


def test_what_cannot_be_used_is_listed(parquet: Path, table: dict[str, np.ndarray]) -> None:
    (x, *_), (y, *_) = table["centroid_x"], table["centroid_y"]
    x3, y3 = table["centroid_x"][3], table["centroid_y"][3]
    width = width_of(parquet)
    far = width / 2
    glass = (width - 0.5, width - 0.5)
    marks = [
        *points(
            (x, y, "plasma cell"),
            (x, y, "Eosinophil"),
            (x, y, "PLASMA cell"),
            (x3, y3, "missing nucleus"),
            (*glass, "Missing nucleus"),
            (*glass, "tumour"),
            (width + 1, 3, "tumour"),
            (3, -1, "tumour"),
        ),
        region("Stroma", far, far, width, width),
        region("Tumor", far, far, width, width, line=2),
        region("Tumor", 1, 1, 2, 2, line=3),
        region("missing nucleus", far, far, width, width, line=4),
    ]
    found = matched(parquet, marks)
    both = int(((table["centroid_x"] > far) & (table["centroid_y"] > far)).sum())
    assert sorted(found.problems) == sorted(
        [
            "marks.csv, line 3: 'Eosinophil' of the same nucleus that marks.csv, line 2 calls "
            "'plasma cell'.",
            "marks.csv, line 5: there is a nucleus here, number 4.",
            f"marks.csv, line 8: ({width + 1}, 3) is outside of the image, "
            f"{width} x {width} pixels.",
            f"marks.csv, line 9: (3, -1) is outside of the image, {width} x {width} pixels.",
            f"q.geojson, feature 2: 'Tumor' of {both} nuclei that q.geojson, feature 1 calls "
            "'Stroma'.",
            "q.geojson, feature 3: there is no nucleus in this region.",
            "q.geojson, feature 4: nuclei that are missing are marked by points.",
        ]
    )
    assert len(found.rows) == len(found.not_nuclei) == 0
    assert [mark.number for mark in found.missing] == [6]
    assert [mark.number for mark in found.misses] == [7]
    assert found.repeated == 1


def test_only_detections_of_another_class_say_something(
    parquet: Path, table: dict[str, np.ndarray]
) -> None:
    said = [name.capitalize() for name in table["class"]]
    said[4] = said[7] = "Plasma cell"
    places = zip(table["centroid_x"], table["centroid_y"], said, strict=True)
    marks = [
        *points(*places, kind="detection"),
        *points((-5, 5, said[0]), (1e300, 5, said[0]), kind="detection"),
        *points((table["centroid_x"][0], table["centroid_y"][0], said[0])),
        region(said[0], 0, 0, 9, 9),
    ]
    changed = [marks[4], marks[7], *marks[-4:]]
    assert said_by_people(marks, parquet) == changed
    assert said_by_people(marks[-2:], parquet) == marks[-2:]


def test_beside_a_nucleus_no_neighbour_is_taken_for_none(
    parquet: Path, table: dict[str, np.ndarray]
) -> None:
    """As where a nucleus was marked that has been left out since; its centroid may be outside."""
    outlines = shapely.from_wkb(table["geometry"])
    x, y = shapely.bounds(outlines)[:, 2] + 0.5, table["centroid_y"]
    is_on = shapely.contains(outlines[:, None], shapely.points(x, y)).any(axis=0)
    row = int(np.flatnonzero(~is_on)[0])
    mpp = 0.25 * SIDE / width_of(parquet)
    assert x[row] - table["centroid_x"][row] < REACH_UM / mpp
    assert matched(parquet, points((x[row], y[row], "tumour"))).rows.tolist() == [row]
    found = matched(parquet, points((x[row], y[row], "Not a nucleus")))
    assert (len(found.not_nuclei), len(found.misses)) == (0, 1)


def test_copies_count_once(parquet: Path, table: dict[str, np.ndarray]) -> None:
    x, y = table["centroid_x"][:2], table["centroid_y"][:2]
    marks = [
        *points((x[0], y[0], "tumour"), (x[1], y[1], "tumour"), (x[0], y[0], "Stroma")),
        region("tumour", 0, 0, 9, 9),
        region("tumour", 0, 0, 9, 8),
    ]
    copies = [
        *points((x[0], y[0], "Tumour"), (x[1], y[1], " tumour")),
        region("tumour", 0, 0, 9, 9, line=7),
    ]
    assert distinct([*marks, *copies]) == marks


def test_no_marks(parquet: Path) -> None:
    found = matched(parquet, [])
    assert (len(found.rows), found.labels, found.misses, found.problems) == (0, [], [], [])
