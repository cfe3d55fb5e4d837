"""Tissue out of focus: found by the detail that it lacks, whatever lies on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from samples import histology
from samples.synthetic import generate
from tests.client.slide_files import write_tiff
from tsfd_client import read_image
from tsfd_client.pixels.blur import find_blur
from tsfd_client.pixels.opening import open_image

SIDE = 1600  # pixels, 0.4 mm


def real() -> np.ndarray:
    image, _ = read_image(histology.path(), mpp=histology.MPP)
    image = np.hstack([image, image[:, ::-1]])
    image = np.vstack([image, image[::-1]])
    return np.tile(image, (3, 2, 1))[:SIDE, :SIDE]


def synthetic() -> np.ndarray:
    return generate(SIDE, SIDE, nuclei=600, seed=4).image


def blur_of(path: Path, image: np.ndarray, mpp: float = 0.25) -> np.ndarray:
    """Of a slide that is all tissue."""
    write_tiff(path, image, mpp=mpp, compression="jpeg", compressionargs={"level": 85})
    with open_image(path) as slide:
        shape = [round(length * mpp / 8) for length in image.shape[:2]]
        return find_blur(slide, np.ones(shape, bool))


@pytest.mark.parametrize("tissue", [real, synthetic])
@pytest.mark.parametrize("sigma", [3, 5])  # micrometres
def test_the_blurred_half_is_found(tissue: object, sigma: float, tmp_path: Path) -> None:
    image = tissue()
    half = SIDE // 2
    image[:, :half] = cv2.GaussianBlur(image, (0, 0), sigma / 0.25)[:, :half]

    mask = blur_of(tmp_path / "slide.tif", image)

    assert mask[:, :19].mean() >= 0.95, "but beside what is sharp"
    assert not mask[:, 28:].any()


@pytest.mark.parametrize("sigma", [0, 0.5])
def test_tissue_in_focus_has_none(sigma: float, tmp_path: Path) -> None:
    image = real()
    image = cv2.GaussianBlur(image, (0, 0), sigma / 0.25) if sigma else image

    assert not blur_of(tmp_path / "slide.tif", image).any()


def test_a_scan_at_20x_is_not_blurred_for_it(tmp_path: Path) -> None:
    small = cv2.resize(real(), (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)

    assert not blur_of(tmp_path / "slide.tif", small, mpp=0.5).any()


def test_glass_and_what_is_not_asked_for(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(243, 2, (SIDE, SIDE, 3))
    assert not blur_of(tmp_path / "glass.tif", np.rint(noise).astype(np.uint8)).any()

    path = tmp_path / "slide.tif"
    write_tiff(path, cv2.GaussianBlur(real(), (0, 0), 16))
    with open_image(path) as slide:
        tissue = np.zeros((50, 50), bool)
        tissue[10:30, 10:30] = True
        mask = find_blur(slide, tissue)
    assert mask[10:30, 10:30].all()
    assert mask.sum() == 400


def test_where_a_slide_is_damaged_a_remark_says_so(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    write_tiff(path, cv2.GaussianBlur(real(), (0, 0), 16), compression="jpeg")
    with tifffile.TiffFile(path) as file:
        page = file.pages[1]  # half as large: the full resolution is whole
        start, length = page.dataoffsets[0], page.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + length] = b"\x55" * length
    path.write_bytes(content)
    with open_image(path) as slide:
        find_blur(slide, np.ones((50, 50), bool))
        (remark,) = slide.remarks
    assert remark.startswith(f"Blur was not searched for everywhere: {path} cannot be read at x ")


def test_squares_that_are_read_join_without_a_seam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = cv2.GaussianBlur(synthetic(), (0, 0), 16)
    image[:, SIDE // 2 :] = synthetic()[:, SIDE // 2 :]
    whole = blur_of(tmp_path / "whole.tif", image)
    monkeypatch.setattr("tsfd_client.pixels.blur._SIDE", 64)
    parts = blur_of(tmp_path / "parts.tif", image)

    assert (whole != parts).mean() <= 0.02
