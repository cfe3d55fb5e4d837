"""A camera's orientation tag: pixels stay as they are stored, and one line says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from tests.client.slide_files import write_tiff
from tsfd_client import read_image
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.opening import open_image

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
REMARK = (
    "Its orientation tag ({}) asks viewers to turn or mirror it; its pixels are taken as they are "
    "stored, which is how QuPath shows them."
)


def by_pillow(path: Path, tag: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = tag
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    Image.fromarray(RGB).save(path, exif=exif, **lossless)


def as_tiff(path: Path, tag: int) -> None:
    tifffile.imwrite(path, RGB, photometric="rgb", extratags=[(274, "H", 1, tag)])


def as_a_pyramid(path: Path, tag: int) -> None:
    write_tiff(path, RGB, shrinks=(1, 2), tile=(16, 16), extratags=[(274, "H", 1, tag)])


@pytest.mark.parametrize("tag", [1, 3, 6])
@pytest.mark.parametrize(
    ("write", "name"),
    [
        (by_pillow, "a.jpg"),
        (by_pillow, "a.png"),
        (by_pillow, "a.webp"),
        (as_tiff, "a.tif"),
        (as_a_pyramid, "a.tif"),
    ],
)
def test_pixels_are_as_stored_and_a_turn_is_said(
    write: Callable[[Path, int], None], name: str, tag: int, tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path, tag)

    with open_image(path, 0.25) as slide:
        pixels = slide.at(0.25).read(Box(0, 0, 40, 50))
        assert slide.remarks == [REMARK.format(tag)] * (tag > 1)
    if tag > 1:
        with pytest.warns(UserWarning, match=r"Its orientation tag \(\d\) asks viewers"):
            whole, _ = read_image(path, mpp=0.25)
    else:
        whole, _ = read_image(path, mpp=0.25)

    assert np.array_equal(pixels, whole)
    if name != "a.jpg":
        assert np.array_equal(pixels, RGB)


def test_a_damaged_tag_is_none(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\xff\x01\x12")

    with open_image(tmp_path / "a.png", 0.25) as slide:
        assert slide.remarks == []
