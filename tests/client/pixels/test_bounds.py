"""Of a slide that says which part of the glass was scanned, that part is the image."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
from openslide import OpenSlide

from tests.client.slide_files import smaller
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.levels import digest_of
from tsfd_client.pixels.opening import open_image
from tsfd_client.pixels.slide import Slide
from tsfd_client.pixels.tissue import MPP, lies_on, read_tissue
from tsfd_client.view.pixels import tile

CORNER = (301, 203)  # no level's pixels begin there


def whole(slide: Slide) -> np.ndarray:
    scaled = slide.at(0.25)
    return scaled.read(Box(0, 0, *scaled.grid.shape))


def test_it_begins_at_the_corner_of_what_was_scanned(scn_slide, picture) -> None:
    path = scn_slide(corner=CORNER)
    with OpenSlide(path) as file:
        said = [file.properties[f"openslide.bounds-{name}"] for name in ("x", "y")]
        assert file.dimensions == (2000, 1600)
    assert said == [str(edge) for edge in CORNER]

    with open_image(path) as slide:
        assert (slide.height, slide.width) == picture.shape[:2]
        assert np.array_equal(whole(slide), picture)
        part = Box(17, 40, 260, 333)
        assert np.array_equal(slide.at(0.25).read(part), part.crop(picture))


@pytest.mark.parametrize("nm", [100, 125, 130])
def test_smaller_levels_begin_there_too(scn_slide, picture, nm: int) -> None:
    """Which is between two of their pixels."""
    with open_image(scn_slide(corner=CORNER, nm=nm)) as slide:
        assert slide.at(0.25).grid.mpp == pytest.approx(nm / 500, rel=1e-4)
        seen = whole(slide)
        parts = [slide.at(0.25).read(Box(y, 0, y + 50, seen.shape[1])) for y in (0, 50, 100)]
    size = seen.shape[1::-1]
    expected = cv2.resize(smaller(picture, 2), size, interpolation=cv2.INTER_AREA)
    assert np.abs(seen.astype(int) - expected).mean() < 6
    assert np.array_equal(np.vstack(parts), seen[:150])


def test_thumbnail_and_page_show_what_was_scanned(scn_slide, picture) -> None:
    with open_image(scn_slide(corner=CORNER)) as slide:
        small = slide.thumbnail(MPP)
        square = tile(slide, 1, 0, 0)
    expected = cv2.resize(picture, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).mean() < 3
    assert square is not None
    assert np.array_equal(square, picture[:512, :512])


def test_an_outline_is_relative_to_that_corner(scn_slide, tmp_path: Path) -> None:
    """As QuPath writes it, which shows no more than what was scanned."""
    ring = [[100, 200], [300, 200], [300, 600], [100, 600], [100, 200]]
    outline = {"type": "Polygon", "coordinates": [ring]}
    (tmp_path / "tissue.geojson").write_text(json.dumps(outline))

    with open_image(scn_slide(corner=CORNER)) as slide:
        height, width = slide.height, slide.width
        tissue = read_tissue(tmp_path / "tissue.geojson", height, width, slide.mpp)

    assert slide.area_mm2 == pytest.approx(701 * 533 * 0.25**2 / 1e6)
    assert tissue.mean() == pytest.approx(200 * 400 / (701 * 533), rel=0.3)
    x, y = np.array([200, 200, 350]), np.array([400, 100, 400])
    assert lies_on(tissue, x, y, height, width).tolist() == [True, False, False]


def test_a_slide_without_bounds_keeps_its_fingerprint(svs_slide) -> None:
    """Runs that were begun with it go on."""
    path = svs_slide()
    with OpenSlide(path) as file:
        shapes = [(height, width) for width, height in file.level_dimensions]
        digest = file.properties["openslide.quickhash-1"] + digest_of(path)

    with open_image(path) as slide:
        assert slide.fingerprint() == sha256(f"{shapes} {digest}".encode()).hexdigest()
