"""Pen on slides: found whatever its colour, and never where there is only tissue."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from samples import histology
from samples.pen import INKS, draw, strokes
from tsfd_client import read_image
from tsfd_client.pixels.artifacts import PEN, Artifact, read_artifacts, write_artifacts
from tsfd_client.pixels.pen import find_pen, wiped
from tsfd_client.pixels.tissue import find_tissue

DATA = Path(__file__).parents[4] / "shared/data"
SIZE = (5.0, 3.0)  # mm, of a field
WIDTHS = (0.2, 0.5, 1.0)
GLASS = (243, 241, 244)
# The least opacity at which at least 95 % are found: over tissue and beside it.
LEAST = {
    "blue": (0.7, 0.5),
    "black": (0.8, 0.6),
    "green": (0.5, 0.5),
    "yellow and orange": (0.6, 0.5),
}
MELANIN, CARBON = (0.6, 0.8, 1.0), (1.0, 1.0, 1.0)  # optical densities in red, green and blue


def mirrored(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A field that an image and its mirror images fill."""
    image = np.hstack([image, image[:, ::-1]])
    image = np.vstack([image, image[::-1]])
    repeats = [-(-most // length) for most, length in zip(shape, image.shape[:2], strict=True)]
    return np.tile(image, (*repeats, 1))[: shape[0], : shape[1]]


def shrunk(image: np.ndarray, mpp: float) -> np.ndarray:
    size = [max(1, round(length * mpp / 8)) for length in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def covered() -> np.ndarray:
    return strokes(SIZE, 8.0, seed=2, widths=WIDTHS)


@pytest.fixture(scope="module")
def tissue(covered: np.ndarray) -> np.ndarray:
    """A field of real tissue at 8 micrometres per pixel."""
    image, mpp = read_image(histology.path(), mpp=histology.MPP)
    return mirrored(shrunk(image, mpp), covered.shape)


@pytest.fixture(scope="module")
def glass(covered: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((*covered.shape, 3))
    return np.rint(GLASS + noise).astype(np.uint8)


@pytest.mark.parametrize("colour", LEAST)
@pytest.mark.parametrize("place", ["over tissue", "beside it"])
def test_translucent_and_opaque(
    colour: str, place: str, covered: np.ndarray, tissue: np.ndarray, glass: np.ndarray
) -> None:
    ground = tissue if place == "over tissue" else glass
    inked = covered > 0.5
    around = cv2.dilate(inked.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    for ink in INKS[colour]:
        for opacity in (LEAST[colour][place == "beside it"], 0.9, 1.0):
            mask = find_pen(draw(ground, covered, ink, opacity=opacity, mpp=8.0, seed=0))

            assert mask[inked].mean() >= 0.95, (ink, opacity)
            assert not mask[~around].any(), "nothing else"


@pytest.mark.parametrize("opacity", [0.5, 1.0])
def test_where_pen_was_glass_is_glass_and_tissue_tissue(
    opacity: float, covered: np.ndarray, tissue: np.ndarray, glass: np.ndarray
) -> None:
    """What is left of tissue borders on the pen, and on glass pen leaves no rim."""
    ink = INKS["green"][0]
    drawn = draw(glass, covered, ink, opacity=opacity, mpp=8.0, seed=0)
    assert not find_tissue(wiped(drawn, find_pen(drawn))).any()

    drawn = draw(tissue, covered, ink, opacity=opacity, mpp=8.0, seed=0)
    pen = find_pen(drawn)
    assert find_tissue(wiped(drawn, pen))[~pen].mean() > 0.999


def test_red_ink_is_found_where_it_is_opaque(covered: np.ndarray, tissue: np.ndarray) -> None:
    drawn = draw(tissue, covered, INKS["red"][0], opacity=1.0, mpp=8.0, seed=0)

    assert find_pen(drawn)[covered > 0.5].mean() >= 0.95


@pytest.mark.parametrize("tint", [(238, 226, 200), (225, 232, 240), (228, 235, 225)])
def test_tinted_glass_is_no_pen(
    tint: tuple[int, ...], glass: np.ndarray, tissue: np.ndarray
) -> None:
    """Such as under old mounting medium."""
    field = glass.copy()
    field[:, :150] = tissue[:, :150]
    tinted = np.rint(field * (np.array(tint) / GLASS)).clip(0, 255).astype(np.uint8)

    assert not find_pen(tinted).any()


def test_dust_and_specks_of_ink_are_no_pen(glass: np.ndarray) -> None:
    speckled = glass.copy()
    for number in range(10):
        cv2.circle(speckled, (30 + 35 * number, 200), 6, INKS["blue"][0], -1)

    assert not find_pen(speckled).any()


@pytest.mark.parametrize("pigment", [MELANIN, CARBON])
def test_pigment_in_small_clusters_is_no_pen(
    pigment: tuple[float, ...], tissue: np.ndarray
) -> None:
    rng = np.random.default_rng(1)
    field = cv2.GaussianBlur(rng.standard_normal(tissue.shape[:2], np.float32), (0, 0), 3)
    amount = 1.0 * (field > np.quantile(field, 0.9))  # a tenth of the tissue
    pigmented = tissue * np.exp(-amount[..., None] * pigment)

    assert not find_pen(np.rint(pigmented).astype(np.uint8)).any()


def test_tissue_and_blood_of_annotated_images_are_no_pen() -> None:
    """Of every set; those with inked margins are in none of the sixths."""
    if not DATA.is_dir():
        pytest.skip("no shared data beside the repository")
    area, taken = 0, 0.0
    for entry in json.loads((DATA / "manifest.json").read_text())[::6]:
        image = cv2.imread(str(DATA / entry["image"]))[..., ::-1]
        image = shrunk(np.ascontiguousarray(image), entry["mpp"])
        size = image.shape[0] * image.shape[1]
        area += size
        taken += size * find_pen(mirrored(image, (64, 64))).mean()

    assert area > 50_000
    assert taken <= 0.001 * area


def test_artifacts_come_back_from_their_file(tmp_path: Path) -> None:
    mask = np.zeros((90, 120), bool)
    mask[20:40, 30:80] = True
    path = tmp_path / "artifacts.geojson"
    pen = Artifact(PEN, mask, is_left_out=True)
    write_artifacts(path, [pen], 720, 960)

    (back,) = read_artifacts(path, 720, 960, 1.0, {PEN: (pen.mm2(0.6912), True)})
    assert np.array_equal(back.mask, mask)
    assert back.is_left_out
    (feature,) = json.loads(path.read_text())["features"]
    assert feature["properties"]["classification"] == {"name": "pen"}

    write_artifacts(path, [Artifact(PEN, mask & False, is_left_out=True)], 720, 960)
    assert not path.exists()
