"""Reading images: formats, scales, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tsfd_client import ImageError, read_image

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def test_png_has_no_scale(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")

    pixels, mpp = read_image(tmp_path / "a.png")

    assert np.array_equal(pixels, RGB)
    assert mpp is None


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    alpha = np.zeros((40, 50, 1), np.uint8)
    alpha[:20] = 255
    Image.fromarray(np.concatenate([RGB, alpha], -1)).save(tmp_path / "a.png")

    pixels, _ = read_image(tmp_path / "a.png")

    assert np.array_equal(pixels[:20], RGB[:20])
    assert (pixels[20:] == 255).all()


def test_tiff_says_its_scale(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", RGB, resolution=(20_000, 20_000), resolutionunit="CENTIMETER"
    )
    tifffile.imwrite(tmp_path / "b.tif", RGB, description="Aperio |AppMag = 20|MPP = 0.4990")
    tifffile.imwrite(tmp_path / "c.tif", RGB, resolution=(72, 72), resolutionunit="INCH")

    assert read_image(tmp_path / "a.tif")[1] == pytest.approx(0.5)
    assert read_image(tmp_path / "b.tif")[1] == pytest.approx(0.499)
    assert read_image(tmp_path / "c.tif")[1] is None


def test_real_slide() -> None:
    slide = Path(__file__).parents[3] / "shared/data/slides/cmu-1-small-region.svs"
    if not slide.is_file():
        pytest.skip("the public test slide is not here")

    pixels, mpp = read_image(slide)

    assert pixels.shape == (2967, 2220, 3)
    assert mpp == pytest.approx(0.499)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [(RGB[..., 0], "is grey"), (RGB.astype(np.uint16), "has uint16 pixels: convert it to 8 bits")],
)
def test_refused_pixels(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels)

    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "a.tif")


def test_missing_and_broken_files(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        with pytest.raises(ImageError, match=f"There is no file .*{name}"):
            read_image(tmp_path / name)
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ImageError, match=f"{name} cannot be read as an image: "):
            read_image(tmp_path / name)
