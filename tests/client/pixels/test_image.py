"""Reading images: formats, scales, and what is refused."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tsfd_client import ImageError, read_image

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
SLIDE = Path(__file__).parents[4] / "shared/data/slides/cmu-1-small-region.svs"
COMPRESSIONS = [None, "lzw", "jpeg", "jpeg2000", "deflate"]


def damaged(tmp_path: Path, data: bytes, name: str) -> str:
    """What is said of a file with this content; empty if it is read."""
    (tmp_path / name).write_bytes(data)
    try:
        pixels, _ = read_image(tmp_path / name)
    except ImageError as error:
        message = str(error)
        assert message.startswith(f"{tmp_path / name} ")
        assert "\n" not in message
        return message
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    return ""


def tiff(tmp_path: Path, compression: str | None) -> bytes:
    """A TIFF in tiles, its directory in front of the pixels."""
    picture = np.kron(RGB, np.ones((4, 4, 1), np.uint8))
    tifffile.imwrite(
        tmp_path / "whole.tif", picture, photometric="rgb", tile=(64, 64), compression=compression
    )
    return (tmp_path / "whole.tif").read_bytes()


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
    if not SLIDE.is_file():
        pytest.skip("no shared data beside the repository")

    pixels, mpp = read_image(SLIDE)

    assert pixels.shape == (2967, 2220, 3)
    assert mpp == pytest.approx(0.499)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [(RGB[..., 0], "is grey"), (RGB.astype(np.float32), "has float32 pixels: convert it to 8")],
)
def test_refused_pixels(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric)

    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "a.tif")


def test_missing_and_broken_files(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif"):
        with pytest.raises(ImageError, match=f"There is no file .*{name}"):
            read_image(tmp_path / name)
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ImageError, match=f"{name} cannot be read as an image: "):
            read_image(tmp_path / name)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_cut_off_tiff(tmp_path: Path, compression: str | None) -> None:
    whole = tiff(tmp_path, compression)

    for end in [0, 1, 7, 8, 9, 100, 200, *range(250, len(whole), len(whole) // 9), len(whole) - 1]:
        assert "cannot be read as an image: " in damaged(tmp_path, whole[:end], "cut.tif"), end
    message = damaged(tmp_path, whole[:-1], "cut.tif")
    assert message.endswith(
        f"it is cut off, only {len(whole) - 1:,} of {len(whole):,} bytes are there."
    )
    assert damaged(tmp_path, whole, "whole.tif") == ""


def test_cut_off_slide(tmp_path: Path) -> None:
    if not SLIDE.is_file():
        pytest.skip("no shared data beside the repository")
    whole = SLIDE.read_bytes()

    for end in (4, 16, 1000, 300_000, 1_275_949, 1_275_950, 1_276_200):
        message = damaged(tmp_path, whole[:end], "cut.svs")
        assert "cannot be read as an image: " in message, end


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_flipped_bytes_give_an_image_or_one_line(tmp_path: Path, compression: str | None) -> None:
    whole = tiff(tmp_path, compression)
    said = set()
    for seed in range(150):
        random = np.random.default_rng(seed)
        data = np.frombuffer(whole, np.uint8).copy()
        # Half of them among the tags, which decide most.
        end = 400 if seed % 2 else len(data)
        data[random.integers(0, end, 4)] = random.choice([0, 1, 127, 255], 4)
        said.add(damaged(tmp_path, data.tobytes(), "flipped.tif"))
    assert len(said) > 3


@pytest.mark.parametrize(
    ("pixels", "axes"),
    [(RGB, "YXS"), (RGB.transpose(2, 0, 1), "CYX")],
)
@pytest.mark.parametrize(
    ("size", "unit", "mpp"),
    [(0.5, "µm", 0.5), (500, "nm", 0.5), (2.5e-4, "mm", 0.25), (1, "pixel", None)],
)
def test_ome_tiff(
    tmp_path: Path, pixels: np.ndarray, axes: str, size: float, unit: str, mpp: float | None
) -> None:
    metadata = {"axes": axes, "PhysicalSizeX": size, "PhysicalSizeXUnit": unit}
    photometric = "minisblack" if axes == "CYX" else "rgb"
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, photometric=photometric, metadata=metadata)

    found, scale = read_image(tmp_path / "a.ome.tif")

    assert np.array_equal(found, RGB)
    assert scale == (mpp and pytest.approx(mpp))


def test_planes_of_one_page(tmp_path: Path) -> None:
    planes = RGB.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")

    assert np.array_equal(read_image(tmp_path / "a.tif")[0], RGB)


def aperio(path: Path) -> None:
    tifffile.imwrite(path, RGB, description="Aperio Image Library v11")


def pyramid(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        file.write(RGB, photometric="rgb", subifds=1)
        file.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)


@pytest.mark.parametrize(
    ("write", "name"), [(aperio, "a.svs"), (aperio, "a.tif"), (pyramid, "a.tif")]
)
def test_a_slide_without_a_scale_is_refused(
    tmp_path: Path, write: Callable[[Path], None], name: str
) -> None:
    write(tmp_path / name)

    with pytest.raises(ImageError) as error:
        read_image(tmp_path / name)
    assert str(error.value) == (
        f"{tmp_path / name} is a slide that does not say its scale: give its micrometres per pixel "
        "with --mpp (in Python mpp=). Scans are commonly at 0.5 (20x) or 0.25 (40x); ask "
        "whoever scanned it."
    )
    pixels, mpp = read_image(tmp_path / name, mpp=0.5)
    assert np.array_equal(pixels, RGB)
    assert mpp == 0.5


def test_a_scale_that_is_given_goes_before_the_file(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB, description="Aperio |MPP = 0.4990")

    with pytest.warns(UserWarning, match="It states 0.499 µm per pixel; 0.25 was given and is"):
        assert read_image(tmp_path / "a.tif", mpp=0.25)[1] == 0.25


def test_a_large_picture_is_read(tmp_path: Path) -> None:
    side = 13_400  # Pillow alone refuses it as an attack
    Image.new("P", (side, side)).save(tmp_path / "a.png", compress_level=1)

    assert read_image(tmp_path / "a.png")[0].shape == (side, side, 3)


def huge_png(path: Path) -> None:
    """Says that it is of 400,000 pixels a side."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 400_000, 400_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, data, b"IEND")
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def huge_tiff(path: Path) -> None:
    """Says that it is of 400,000 pixels a side, in one strip that is there."""
    tifffile.imwrite(path, RGB, photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages.first.tags[name].overwrite(400_000, dtype="I")


@pytest.mark.parametrize(("write", "name"), [(huge_png, "a.png"), (huge_tiff, "a.tif")])
def test_more_pixels_than_memory_are_refused_before_they_are_read(
    tmp_path: Path, write: Callable[[Path], None], name: str
) -> None:
    write(tmp_path / name)

    with pytest.raises(ImageError) as error:
        read_image(tmp_path / name)
    assert str(error.value).startswith(
        f"{tmp_path / name} has 400000 x 400000 pixels, too many for this machine's memory: "
        "1600.0 GB are needed and "
    )
