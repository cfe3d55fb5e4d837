"""Where a slide has tissue: found, or outlined by the user."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from shapely import MultiPolygon, Polygon, contains_xy

from samples.synthetic import generate
from tsfd_client import ImageError
from tsfd_client.pixels.opening import open_image
from tsfd_client.pixels.outlines import outlines
from tsfd_client.pixels.tissue import (
    find_tissue,
    is_glass,
    read_tissue,
    run_lengths,
    to_geojson,
)

DATA = Path(__file__).parents[4] / "shared/data"
GLASS = {"white": (250, 250, 250), "usual": (243, 241, 244), "tinted": (235, 228, 238)}
SQUARE = [[100, 100], [500, 100], [500, 500], [100, 500], [100, 100]]
HOLE = [[200, 200], [400, 200], [400, 400], [200, 400], [200, 200]]


def on_glass(glass: tuple[int, int, int], tissue: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    """A thumbnail of 200 x 300 pixels with noise and a piece of tissue."""
    noise = np.random.default_rng(0).normal(0, 1, (200, 300, 3))
    image = np.clip(np.rint(glass + noise), 0, 255).astype(np.uint8)
    image[at[0] : at[0] + tissue.shape[0], at[1] : at[1] + tissue.shape[1]] = tissue
    return image


def outlined(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "tissue.geojson"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def feature(kind: str, coordinates: object) -> dict[str, object]:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "properties": {}, "geometry": geometry}


def classed(kind: str | None, rings: object, **properties: str) -> dict[str, object]:
    """A polygon as QuPath exports it."""
    said = {} if kind is None else {"classification": {"name": kind, "color": [200, 0, 0]}}
    said |= {"objectType": "annotation"} | properties
    return feature("Polygon", rings) | {"properties": said}


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    """At 8 micrometres per pixel, uint8 [40, 40, 3]."""
    field = generate(1280, 1280, nuclei=300, seed=3).image
    return cv2.resize(field, (40, 40), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("glass", GLASS.values(), ids=GLASS)
def test_tissue_and_no_more_than_its_surroundings(
    tissue: np.ndarray, glass: tuple[int, int, int]
) -> None:
    mask = find_tissue(on_glass(glass, tissue, (80, 120)))

    assert mask[80:120, 120:160].all()
    mask[73:127, 113:167] = False  # the margin, and what smoothing adds
    assert not mask.any()


@pytest.mark.parametrize("glass", [GLASS["white"], GLASS["usual"]])
def test_glass_has_no_tissue(glass: tuple[int, int, int]) -> None:
    assert not find_tissue(on_glass(glass, np.zeros((0, 0, 3), np.uint8), (0, 0))).any()


def test_dust_is_no_tissue() -> None:
    dust = np.full((2, 2, 3), (40, 60, 90), np.uint8)

    assert not find_tissue(on_glass(GLASS["usual"], dust, (50, 50))).any()


def test_tissue_without_any_glass(tissue: np.ndarray) -> None:
    assert find_tissue(tissue).all()


def test_nuclei_of_annotated_images_lie_in_the_tissue_found() -> None:
    """Of every set, pale ones too, each image laid on glass."""
    if not DATA.is_dir():
        pytest.skip("no shared data beside the repository")
    total, kept = 0, 0
    for entry in json.loads((DATA / "manifest.json").read_text())[::6]:
        image = cv2.imread(str(DATA / entry["image"]))[..., ::-1]
        small = tuple(round(length * entry["mpp"] / 8) for length in image.shape[1::-1])
        image = cv2.resize(np.ascontiguousarray(image), small, interpolation=cv2.INTER_AREA)
        mask = find_tissue(on_glass(GLASS["usual"], image, (64, 64)))
        mask = mask[64 : 64 + small[1], 64 : 64 + small[0]].astype(np.uint8)
        nuclei = np.load(DATA / entry["masks"])["instances"]
        covered = cv2.resize(mask, nuclei.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        total += len(np.unique(nuclei[nuclei > 0]))
        kept += len(np.unique(nuclei[covered & (nuclei > 0)]))

    assert total > 5_000
    assert kept >= 0.998 * total


@pytest.mark.parametrize("glass", [GLASS["white"], GLASS["usual"]])
def test_a_tile_is_glass_until_a_pale_nucleus_lies_on_it(glass: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).normal(0, 3, (256, 256, 3))
    tile = np.clip(np.rint(glass + noise), 0, 255).astype(np.uint8)
    assert is_glass(tile, 0.25)
    cv2.circle(tile, (250, 120), 12, (214, 198, 226), -1)
    assert not is_glass(tile, 0.25)


def test_no_tile_of_annotated_images_that_has_a_nucleus_is_glass() -> None:
    if not DATA.is_dir():
        pytest.skip("no shared data beside the repository")
    tiles, glass = 0, 0
    for entry in json.loads((DATA / "manifest.json").read_text())[::6]:
        image = cv2.imread(str(DATA / entry["image"]))[..., ::-1]
        nuclei = np.load(DATA / entry["masks"])["instances"]
        for y, x in np.ndindex(image.shape[0] // 256, image.shape[1] // 256):
            part = np.s_[256 * y : 256 * (y + 1), 256 * x : 256 * (x + 1)]
            tiles += 1
            if is_glass(image[part], entry["mpp"]):
                glass += 1
                assert not nuclei[part].any(), entry["image"]

    assert tiles > 200
    assert glass < 0.01 * tiles


def test_nothing_dark_of_the_slide_is_missed_but_dust() -> None:
    if not DATA.is_dir():
        pytest.skip("no shared data beside the repository")
    with open_image(DATA / "slides/cmu-1-small-region.svs") as slide:
        mask = find_tissue(slide.thumbnail(8.0)).astype(np.uint8)
        grey = cv2.cvtColor(slide.thumbnail(0.5), cv2.COLOR_RGB2GRAY)

    missed = cv2.resize(mask, grey.shape[::-1], interpolation=cv2.INTER_NEAREST) == 0
    assert mask.mean() < 0.95
    assert (missed & (grey < 120)).sum() <= 0.002 * (grey < 120).sum()


@pytest.mark.parametrize("wrapped", ["collection", "feature", "geometry", "list", "several"])
def test_polygons_of_qupath_and_others(tmp_path: Path, wrapped: str) -> None:
    one = feature("Polygon", [SQUARE, HOLE])
    content = {
        "collection": {"type": "FeatureCollection", "features": [feature("Point", [1, 2]), one]},
        "feature": one,
        "geometry": one["geometry"],
        "list": [one],
        "several": {
            "type": "GeometryCollection",
            "geometries": [{"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE]]}],
        },
    }[wrapped]

    mask = read_tissue(outlined(tmp_path, content), 800, 1000, mpp=1.0)

    assert mask.shape == (100, 125)
    assert mask[13:24, 13:62].all()
    assert mask[51:62, 13:62].all()
    assert not mask[27:49, 27:49].any(), "the hole"
    assert not mask[:11].any()
    assert not mask[64:].any()
    assert not mask[:, 64:].any()


def test_a_hole_of_one_polygon_may_hold_another(tmp_path: Path) -> None:
    island = [[280, 280], [320, 280], [320, 320], [280, 320], [280, 280]]
    both = [feature("Polygon", [SQUARE, HOLE]), feature("Polygon", [island])]

    mask = read_tissue(outlined(tmp_path, both), 800, 1000, mpp=1.0)

    assert mask[37, 37]
    assert not mask[30, 30]


def test_a_polygon_may_reach_beyond_the_slide(tmp_path: Path) -> None:
    far = [[-5e9, -5e9], [5e9, -5e9], [5e9, 5e9], [-5e9, 5e9], [-5e9, -5e9]]

    assert read_tissue(outlined(tmp_path, feature("Polygon", [far])), 800, 1000, mpp=1.0).all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not GeoJSON"),
        ("no json", "is not GeoJSON"),
        ("[1, 2]", "is not GeoJSON"),
        ("[" * 100_000, "is not GeoJSON"),
        ({"features": []}, "is not GeoJSON"),
        (feature("Polygon", []), "has no polygon"),
        ({"type": "FeatureCollection", "features": []}, "has no polygon"),
        (feature("Point", [1, 2]), "has no polygon"),
        (feature("Polygon", [[[x + 2000, y] for x, y in SQUARE]]), "on the image, which is 1000"),
        (feature("Polygon", [[[x - 2000, y] for x, y in SQUARE]]), "on the image, which is 1000"),
    ],
)
def test_an_outline_that_cannot_be_used(tmp_path: Path, content: object, says: str) -> None:
    path = outlined(tmp_path, content)

    with pytest.raises(ImageError, match=says) as caught:
        read_tissue(path, 800, 1000, mpp=1.0)

    assert str(caught.value).startswith(f"{path} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "ring",
    [
        *(None, 7, [], [None] * 4, [1, 2, 3, 4], [[1, 2], [3]], [[None, 2]] * 4, [["a", 2]] * 4),
        *([[1, 2], [3, 4]], [[1, 2], [3, 4], [1, 2]], [[1, 2], [3, 4], [float("nan"), 2], [1, 2]]),
        *([{"x": 1}] * 4, [[[1, 2], [3, 4], [5, 6]]]),
    ],
)
@pytest.mark.parametrize("hole", [False, True])
def test_a_damaged_polygon_among_many_is_named(tmp_path: Path, ring: object, hole: bool) -> None:
    many = [feature("Polygon", [SQUARE]) for _ in range(500)]
    many[316] = classed("Tumor", [SQUARE, ring] if hole else [ring], name="spot 9")
    path = outlined(tmp_path, {"type": "FeatureCollection", "features": many})

    with pytest.raises(ImageError) as caught:
        read_tissue(path, 800, 1000, mpp=1.0)

    assert str(caught.value) == (
        f"{path}: feature 317 ('spot 9', class Tumor) is damaged: a polygon is a list of rings, "
        "each of three or more points [x, y]."
    )


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({}, "feature 2"),
        (None, "feature 2"),
        ({"name": "rim"}, "feature 2 ('rim')"),
        ({"classification": "Stroma"}, "feature 2 (class Stroma)"),
        ({"classification": {"names": ["Tumor", "Positive"]}}, "feature 2 (class Tumor: Positive)"),
    ],
)
def test_what_a_damaged_polygon_is_called(tmp_path: Path, properties: object, named: str) -> None:
    damaged = feature("MultiPolygon", [[SQUARE], [[[1, 2]]]]) | {"properties": properties}
    path = outlined(tmp_path, [feature("Polygon", [SQUARE]), damaged])

    with pytest.raises(ImageError) as caught:
        read_tissue(path, 800, 1000, mpp=1.0)

    assert str(caught.value).startswith(f"{path}: {named} is damaged: ")


def test_rings_that_are_not_closed(tmp_path: Path) -> None:
    closed = read_tissue(outlined(tmp_path, feature("Polygon", [SQUARE, HOLE])), 800, 1000, mpp=1.0)
    opened = outlined(tmp_path, feature("Polygon", [SQUARE[:-1], HOLE[:-1]]))
    assert np.array_equal(read_tissue(opened, 800, 1000, mpp=1.0), closed)

    triangle = outlined(tmp_path, feature("Polygon", [SQUARE[:3]]))
    mask = read_tissue(triangle, 800, 1000, mpp=1.0)
    assert mask[20, 60]
    assert not mask[60, 20]


@pytest.mark.parametrize("how", ["gzip", "byte order mark", "UTF-16", "gzip and mark"])
def test_other_ways_to_store_an_outline(tmp_path: Path, how: str) -> None:
    path = outlined(tmp_path, feature("Polygon", [SQUARE]))
    plain = read_tissue(path, 800, 1000, mpp=1.0)
    text = path.read_text()
    path.write_bytes(
        {
            "gzip": gzip.compress(text.encode()),
            "byte order mark": text.encode("utf-8-sig"),
            "UTF-16": text.encode("utf-16"),
            "gzip and mark": gzip.compress(text.encode("utf-8-sig")),
        }[how]
    )
    assert np.array_equal(read_tissue(path, 800, 1000, mpp=1.0), plain)


@pytest.mark.parametrize("spoil", [lambda c: c[:-9], lambda c: c[:20] + b"?" * 20, lambda c: c[:2]])
def test_a_damaged_gzip_file(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = outlined(tmp_path, feature("Polygon", [SQUARE]))
    path.write_bytes(spoil(gzip.compress(path.read_bytes())))

    with pytest.raises(ImageError) as caught:
        read_tissue(path, 800, 1000, mpp=1.0)

    assert str(caught.value) == f"{path} is a damaged gzip file: copy or export it again."


def test_classes_that_qupath_ignores_are_left_out(tmp_path: Path) -> None:
    """`Ignore*` is cut out of the others, `Region*` stands for no tissue of its own."""
    parts = [
        classed("Tumor", [SQUARE]),
        classed("Ignore*", [HOLE]),
        classed("Region*", [[[x + 450, y] for x, y in SQUARE]]),
    ]

    mask = read_tissue(outlined(tmp_path, parts), 800, 1000, mpp=1.0)

    assert mask[20, 20]
    assert not mask[25:51, 25:51].any(), "Ignore*"
    assert not mask[:, 65:].any(), "Region*"


@pytest.mark.parametrize("kind", ["Tumor", "Region*", "Ignore*", "Tumor: Positive"])
def test_polygons_of_one_class(tmp_path: Path, kind: str) -> None:
    places = {"Tumor": 0, "Region*": 200, "Ignore*": 400, "Tumor: Positive": 600, None: 800}
    parts = [
        classed(name, [[[x, 0], [x + 100, 0], [x + 100, 100], [x, 100]]])
        for name, x in places.items()
    ]
    parts[3]["properties"] = {"classification": {"names": ["Tumor", "Positive"]}}

    mask = read_tissue(outlined(tmp_path, parts), 800, 1000, mpp=1.0, kind=kind)

    x = places[kind] // 8
    assert mask[1:12, x + 1 : x + 12].all()
    mask[:14, max(0, x - 1) : x + 14] = False
    assert not mask.any()


@pytest.mark.parametrize(
    ("kinds", "kind", "says"),
    [
        (
            ["Tumor", "Stroma", None, "Tumor"],
            "tumor",
            "has no polygon of the class 'tumor': its classes are Stroma, Tumor.",
        ),
        ([None], "Tumor", "has no polygon of the class 'Tumor': none of its polygons has a class."),
        (
            ["Region*", "Ignore*"],
            None,
            "has only polygons of classes that QuPath ignores (Ignore*, Region*): name one with "
            "--tissue-class (in Python tissue_class=).",
        ),
        (
            ["Tumor", "Ignore*"],
            None,
            "outlines nothing that its Ignore* polygons leave over.",
        ),
    ],
)
def test_no_polygon_of_a_class(
    tmp_path: Path, kinds: list[str | None], kind: str | None, says: str
) -> None:
    path = outlined(tmp_path, [classed(each, [SQUARE]) for each in kinds])

    with pytest.raises(ImageError) as caught:
        read_tissue(path, 800, 1000, mpp=1.0, kind=kind)

    assert str(caught.value) == f"{path} {says}"


def test_the_class_is_named_where_its_polygons_miss_the_image(tmp_path: Path) -> None:
    path = outlined(tmp_path, classed("Tumor", [[[x + 2000, y] for x, y in SQUARE]]))

    with pytest.raises(ImageError) as caught:
        read_tissue(path, 800, 1000, mpp=1.0, kind="Tumor")

    assert str(caught.value) == (
        f"{path} has no polygon of the class 'Tumor' on the image, which is 1000 x 800 pixels: its "
        "coordinates must be pixels of the full resolution."
    )


def test_an_outline_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="There is no file"):
        read_tissue(tmp_path / "tissue.geojson", 800, 1000, mpp=1.0)
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        read_tissue(tmp_path, 800, 1000, mpp=1.0)


def test_a_mask_comes_back_from_its_outline(tmp_path: Path) -> None:
    """To the pixel: densities are per area of it, wherever they are counted."""
    mask = np.random.default_rng(2).random((90, 120)) < 0.6
    path = outlined(tmp_path, to_geojson(mask, 1440, 1921))

    assert np.array_equal(read_tissue(path, 1440, 1921, mpp=0.5), mask)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_outlines_enclose_their_pixels_and_no_others(share: float) -> None:
    mask = np.random.default_rng(3).random((40, 60)) < share
    pieces = [Polygon(outer, holes) for outer, *holes in outlines(mask, 0.0)]
    assert sum(piece.area for piece in pieces) == mask.sum()
    within = MultiPolygon([Polygon(outer, holes) for outer, *holes in outlines(mask, 0.1)])
    assert within.is_valid
    y, x = np.mgrid[:40, :60] + 0.5
    assert np.array_equal(contains_xy(within, x, y), mask)


def test_run_lengths() -> None:
    assert run_lengths(np.array([[False, True], [True, False]])) == [1, 2, 1]
    assert run_lengths(np.ones((2, 3), bool)) == [0, 6]
