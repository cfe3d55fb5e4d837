"""Marks read from GeoJSON and tables, and what is said of those that are none."""

from __future__ import annotations

import gzip
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.client.export.run_folder import finished
from training.target import CLASSES, PANNUKE
from tsfd_client.classes.labels import PALETTE, colours, free_colour, key, spellings
from tsfd_client.classes.marks import Mark, read_marks
from tsfd_client.errors import TsfdError
from tsfd_client.nuclei.geojson import write

SLIDES = {"first": "a.svs", "second": "b.ome.tif", "again": "b.ome.tif"}
RING = [[0, 0], [40, 0], [40, 40], [0, 40], [0, 0]]


def feature(kind: str, coordinates: Any, label: str | None = "plasma cell", **said: Any) -> dict:
    properties = {"objectType": "annotation", **said}
    if label:
        properties["classification"] = {"name": label, "color": [1, 2, 3]}
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def saved(path: Path, *features: dict, **said: Any) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", **said, "features": features}))
    return path


def told(mark: Mark) -> tuple[str, str, str, int]:
    return mark.slide, mark.label, mark.kind, mark.number


def test_annotations_of_qupath(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "first.geojson",
        feature("Point", [1.5, 2.5]),
        feature("MultiPoint", [[3, 4], [5, 6]], "Tumor"),
        feature("Polygon", [RING], "Stroma"),
        feature("MultiPolygon", [[RING], [[[50, 50], [60, 50], [60, 60]]]], "Stroma"),
        feature("Polygon", [RING], None),
        feature("LineString", [[0, 0], [1, 1]]),
        feature("Polygon", [[[0, 0]]]),
        feature("Point", [None, 1]),
        feature("Point", [1, 2], "Background"),
        None,
        {"geometry": {}},
        feature("Point", [1, 2]) | {"properties": [1]},
    )
    read = read_marks(path, SLIDES)
    assert [told(mark) for mark in read.marks] == [
        ("first", "plasma cell", "point", 1),
        ("first", "Tumor", "point", 2),
        ("first", "Tumor", "point", 2),
        ("first", "Stroma", "region", 3),
        ("first", "Stroma", "region", 4),
    ]
    assert [(mark.x, mark.y) for mark in read.marks[:3]] == [(1.5, 2.5), (3, 4), (5, 6)]
    assert [len(ring) for ring in read.marks[4].rings] == [4, 3]
    assert read.marks[0].colour == (1, 2, 3)
    assert read.problems == [
        f"{path}, feature 5: it has no class.",
        f"{path}, feature 6: it is neither a point nor a polygon.",
        f"{path}, feature 7: its coordinates are damaged.",
        f"{path}, feature 8: its coordinates are damaged.",
        f"{path}, feature 9: 'Background' is what is around nuclei, no class of them: say "
        "'not a nucleus', or use another name.",
        f"{path}, feature 10: it is no feature of GeoJSON.",
        f"{path}, feature 11: it has no class.",
        f"{path}, feature 12: it is no feature of GeoJSON.",
    ]


def test_detections_of_our_own_export_and_cells(tmp_path: Path) -> None:
    """A place within each outline, also of one that is bent."""
    folder = finished(tmp_path, 1.0)
    write(folder / "nuclei.parquet", tmp_path / "first.geojson.gz")
    read = read_marks(tmp_path / "first.geojson.gz", SLIDES)
    content = json.loads(gzip.decompress((tmp_path / "first.geojson.gz").read_bytes()))
    assert len(read.marks) == len(content["features"])
    assert {mark.kind for mark in read.marks} == {"detection"}
    assert {mark.label for mark in read.marks} == {name.capitalize() for name in CLASSES[1:]}
    bent = [[0, 0], [30, 0], [30, 30], [0, 30], [0, 28], [28, 28], [28, 2], [0, 2]]
    cell = feature("Polygon", [RING], objectType="cell")
    cell["nucleusGeometry"] = {"type": "Polygon", "coordinates": [bent]}
    unclassified = feature("Polygon", [RING], None, objectType="detection")
    path = saved(tmp_path / "first.geojson", cell, unclassified, unclassified)
    read = read_marks(path, SLIDES)
    ((x, y),) = [(mark.x, mark.y) for mark in read.marks]
    assert 28 < x < 30
    assert 2 < y < 28
    assert read.problems == [f"{path}: 2 detections have no class."]


@pytest.mark.parametrize(
    ("name", "said", "slide"),
    [
        ("first.geojson", {}, "first"),
        ("a.svs.geojson", {}, "first"),
        ("a.geojson", {}, "first"),
        ("marks.geojson", {"slide": "a.svs"}, "first"),
        ("second/annotations.geojson", {}, "second"),
    ],
)
def test_which_result_geojson_is_of(name: str, said: dict, slide: str, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    path = saved(tmp_path / name, feature("Point", [1, 2]), **said)
    assert [mark.slide for mark in read_marks(path, SLIDES).marks] == [slide]


def test_geojson_of_nobody_knows_which(tmp_path: Path) -> None:
    path = saved(tmp_path / "marks.geojson", feature("Point", [1, 2]))
    assert read_marks(path, {"only": "a.svs"}).marks[0].slide == "only"
    with pytest.raises(TsfdError) as error:
        read_marks(path, SLIDES)
    assert str(error.value) == (
        f"{path} does not say which result it is of: give it the result's name, as in "
        "first.geojson."
    )
    path.write_bytes('{"a": "größer"}'.encode("latin-1"))
    with pytest.raises(TsfdError, match=r"is not UTF-8: save it as UTF-8\.$"):
        read_marks(path, SLIDES)
    path.write_text("{")
    with pytest.raises(TsfdError, match=r"is not GeoJSON\.$"):
        read_marks(path, SLIDES)


def test_geojson_of_another_slide_is_refused(tmp_path: Path) -> None:
    """Also if only one result is named; but marks beside a result stay its own."""
    only = {"only": "a.svs"}
    path = saved(tmp_path / "only.geojson", feature("Point", [1, 2]), slide="other.svs")
    with pytest.raises(TsfdError) as error:
        read_marks(path, only)
    assert str(error.value) == (
        f"{path} says which slide it is of, but there is no result 'other.svs', and none of an "
        "image of that name."
    )
    (tmp_path / "only").mkdir()
    path = saved(tmp_path / "only/annotations.geojson", feature("Point", [1, 2]), slide="b.svs")
    assert read_marks(path, only).marks[0].slide == "only"


def test_a_table(tmp_path: Path) -> None:
    """As a spreadsheet saves it."""
    path = tmp_path / "marks.csv"
    lines = (
        "sep=;",
        "Slide;X;Y;Label",
        "first;1,5;2;plasma cell",
        "a.svs;3;4;Tumor",
        "a;3;4;Tumor",
        "",
        "nowhere;3;4;Tumor",
        "b.ome.tif;3;4;Tumor",
        "first;;4;Tumor",
        "first;3;up;Tumor",
        "first;3;4;",
        "first;3",
        "first;3;4;background",
        ";3;4;Tumor",
    )
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    read = read_marks(path, SLIDES)
    assert [told(mark) for mark in read.marks] == [
        ("first", "plasma cell", "point", 3),
        ("first", "Tumor", "point", 4),
        ("first", "Tumor", "point", 5),
    ]
    assert (read.marks[0].x, read.marks[0].y) == (1.5, 2)
    assert read.problems == [
        f"{path}, line 7: there is no result 'nowhere', and none of an image of that name.",
        f"{path}, line 8: 'b.ome.tif' is the image of second and again: name the result instead.",
        f"{path}, line 9: x is '', not a number.",
        f"{path}, line 10: y is 'up', not a number.",
        f"{path}, line 11: the label is empty.",
        f"{path}, line 12: y is '', not a number.",
        f"{path}, line 13: 'background' is what is around nuclei, no class of them: say "
        "'not a nucleus', or use another name.",
        f"{path}, line 14: the slide is empty.",
    ]
    assert read.strangers == ["nowhere"]
    path.write_text("x,y,label,slide\n1,2,Tumor\n")
    assert read_marks(path, SLIDES).problems == [f"{path}, line 2: the slide is empty."]
    path.write_text('"' + " " * 200_000 + '"\n')
    with pytest.raises(TsfdError, match="is not CSV: its header has a field larger than"):
        read_marks(path, SLIDES)
    path.write_text("slide,x,y,class\nfirst,1,2,Tumor\n")
    with pytest.raises(TsfdError) as error:
        read_marks(path, SLIDES)
    assert str(error.value) == f"{path} needs a column 'label'; it has slide, x, y, class."


def test_labels_are_spelt_as_in_the_release() -> None:
    found = spellings(["Plasma  cell", "plasma cell", "Neoplastic", "Not a Nucleus"], CLASSES[1:])
    assert found["plasma cell"] == "Plasma cell"
    assert found["neoplastic"] == "neoplastic"
    assert found["not a nucleus"] == "not a nucleus"


def test_a_name_is_one_class_however_it_is_encoded() -> None:
    composed, decomposed = "caf\u00e9", "Cafe\u0301"
    found = spellings([decomposed, composed], [])
    assert found[key(composed)] == found[key(decomposed)] == "Caf\u00e9"


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("  \n", "the label is empty."),
        ("x" * 61, "the label 'xxxxxxxxxxxxxxxxxxxx...' has more than 60 characters."),
        ("back\u200bground", "the label 'back\\u200bground' has characters that cannot be seen"),
        ("a\ud800b", "the label 'a\\ud800b' has characters that cannot be seen"),
        ("a\x00b", "the label 'a\\x00b' has characters that cannot be seen"),
        ("Ignore*", "'Ignore*' is what QuPath ignores, no class."),
    ],
)
def test_labels_that_are_no_names(label: str, problem: str, tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [3, 4]}
    said = {"classification": {"name": label}}
    feature = {"type": "Feature", "geometry": point, "properties": said}
    (tmp_path / "first.geojson").write_text(json.dumps(feature))
    (found,) = read_marks(tmp_path / "first.geojson", SLIDES).problems
    assert f"feature 1: {problem}" in found


def test_colours_of_classes_without_one() -> None:
    release = {kind.name: kind.colour for kind in PANNUKE.classes}
    names = [f"class {number}" for number in range(25)]
    said = [("lymphocyte", (9, 9, 9)), *((name, None) for name in names), ("dead", (1, 1, 1))]
    found = colours([*said, ("not a nucleus", None)], release)
    assert list(found) == [*release, "lymphocyte", *names]
    assert found["lymphocyte"] == (9, 9, 9)
    assert found["dead"] == release["dead"]
    assert len(set(found.values())) == len(found)
    first = [np.array(found[name]) for name in [*release, *names[:5]]]
    assert min(np.abs(a - b).max() for a, b in combinations(first, 2)) > 60
    assert free_colour([]) in PALETTE
