"""However its samples are stored, a picture has the colours that it was made with."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tests.client.slide_files import append_tiles
from tsfd_client import ImageError, read_image
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.opening import open_image

FEW = np.random.default_rng(4).integers(0, 256, (9, 11, 3), np.uint8)
RGB = cv2.resize(FEW, (300, 200), interpolation=cv2.INTER_LINEAR)
YCBCR = cv2.cvtColor(RGB, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
ALPHA = np.tile(np.linspace(0, 255, 300).round().astype(np.uint8), (200, 1))[..., None]
ON_WHITE = RGB * (ALPHA / 255) + 255 - ALPHA
CMYK = Image.fromarray(RGB).convert("CMYK").point(lambda ink: ink // 2 + 40)
INKS = np.asarray(CMYK)
FROM_INKS = np.asarray(CMYK.convert("RGB"))


def seen(path: Path) -> np.ndarray:
    """Its pixels, which are the same whole and in parts; int [h, w, 3]."""
    whole, _ = read_image(path, mpp=0.25)
    with open_image(path, 0.25) as slide:
        scaled = slide.at(0.25)
        height, width = scaled.grid.shape
        parts = [scaled.read(Box(y, 0, min(y + 70, height), width)) for y in range(0, height, 70)]
    assert whole.dtype == np.uint8
    assert np.array_equal(np.vstack(parts), whole)
    return whole.astype(int)


def write(path: Path, samples: np.ndarray, levels: int = 2, **options: object) -> Path:
    """Write a TIFF of two levels, in tiles, or a plain one."""
    axis = 1 if "planarconfig" in options and options["planarconfig"] == "separate" else 0
    with tifffile.TiffWriter(path) as file:
        for times in (1, 2)[:levels]:
            part = samples[..., ::times, ::times] if axis else samples[::times, ::times]
            tile = {"tile": (64, 64)} if levels > 1 else {}
            kind = {"subfiletype": 1} if times > 1 else {}
            file.write(part, metadata=None, **tile, **kind, **options)
    return path


STORED = {
    "16 bits": (RGB.astype(np.uint16) * 257, {"photometric": "rgb"}, RGB),
    "16 bits, between": (
        RGB.astype(np.uint16) * 257 - np.uint16(99) * (RGB > 9),
        {"photometric": "rgb"},
        RGB,
    ),
    "big-endian": (RGB.astype(">u2") * 257, {"photometric": "rgb"}, RGB),
    "CMYK": (INKS, {"photometric": "separated"}, FROM_INKS),
    "CMYK, 16 bits": (INKS.astype(np.uint16) * 257, {"photometric": "separated"}, FROM_INKS),
    "YCbCr": (YCBCR, {"photometric": "ycbcr"}, RGB),
    "YCbCr, deflate": (YCBCR, {"photometric": "ycbcr", "compression": "deflate"}, RGB),
    "planes": (
        np.moveaxis(RGB, -1, 0),
        {"photometric": "rgb", "planarconfig": "separate", "compression": "lzw"},
        RGB,
    ),
    "planes of YCbCr": (
        np.moveaxis(YCBCR, -1, 0),
        {"photometric": "ycbcr", "planarconfig": "separate"},
        RGB,
    ),
    "planes of CMYK": (
        np.moveaxis(INKS, -1, 0),
        {"photometric": "separated", "planarconfig": "separate"},
        FROM_INKS,
    ),
    "alpha": (
        np.dstack([RGB, ALPHA]),
        {"photometric": "rgb", "extrasamples": ["unassalpha"]},
        ON_WHITE,
    ),
    "associated alpha": (
        np.dstack([(RGB * (ALPHA / 255)).round().astype(np.uint8), ALPHA]),
        {"photometric": "rgb", "extrasamples": ["assocalpha"]},
        ON_WHITE,
    ),
    "a fourth sample": (
        np.dstack([RGB, np.zeros_like(ALPHA)]),
        {"photometric": "rgb", "extrasamples": ["unspecified"]},
        RGB,
    ),
    "no photometric": (RGB, {"photometric": "minisblack", "planarconfig": "contig"}, RGB),
    "0 is white": (255 - RGB, {"photometric": "miniswhite", "planarconfig": "contig"}, RGB),
}


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("levels", [1, 2])
def test_samples_of_tiff(tmp_path: Path, kind: str, levels: int) -> None:
    samples, options, expected = STORED[kind]
    path = write(tmp_path / "a.tif", samples, levels, **options)

    assert np.abs(seen(path) - expected).max() <= 2


def test_cmyk_in_jpeg_tiles(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", INKS, photometric="separated", compression="jpeg")

    assert np.abs(seen(path) - FROM_INKS).mean() < 2


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("count", [3, 4])
def test_a_page_per_colour(tmp_path: Path, bits: int, photometric: str, count: int) -> None:
    """A fourth page is no alpha."""
    pages = np.moveaxis(np.dstack([RGB, np.zeros_like(ALPHA)])[..., :count], -1, 0)
    pages = pages if photometric == "minisblack" else 255 - pages
    pages = pages if bits == 8 else pages.astype(np.uint16) * 257
    options = {"photometric": photometric, "metadata": {"axes": "CYX"}, "tile": (64, 64)}
    tifffile.imwrite(tmp_path / "a.tif", np.ascontiguousarray(pages), ome=True, **options)

    assert np.abs(seen(tmp_path / "a.tif") - RGB).max() <= 1


@pytest.mark.parametrize("group", [(1, 2), (2, 1), (2, 2), (4, 1), (4, 4)])
@pytest.mark.parametrize("compression", [None, "lzw"])
def test_chroma_of_several_pixels(
    tmp_path: Path, group: tuple[int, int], compression: str | None
) -> None:
    """In tiles, stored once for so many columns and rows, and not in JPEG."""
    across, down = group
    chroma = YCBCR[::down, ::across, 1:].repeat(down, 0).repeat(across, 1)[:200, :300]
    samples = np.dstack([YCBCR[..., :1], chroma])
    expected = cv2.cvtColor(samples[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB)
    path = write(tmp_path / "a.tif", samples, 2, photometric="ycbcr", compression=compression)
    append_tiles(
        path,
        lambda tile: _grouped(tile, across, down, compression),
        {"YCbCrSubSampling": group},
    )

    assert np.abs(seen(path) - expected).max() <= 2


def _grouped(tile: np.ndarray, across: int, down: int, compression: str | None) -> bytes:
    """A tile of YCbCr as TIFF has it: every Y of a group, then its Cb and Cr."""
    rows, columns = len(tile) // down, tile.shape[1] // across
    groups = tile.reshape(rows, down, columns, across, 3).swapaxes(1, 2)
    luma = groups[..., 0].reshape(rows, columns, -1)
    data = np.concatenate([luma, groups[:, :, 0, 0, 1:]], -1).tobytes()
    return imagecodecs.lzw_encode(data) if compression else data


def test_ycbcr_of_another_make(tmp_path: Path) -> None:
    """By Rec. 709 and within 16 to 235, as its tags say."""
    red, green, blue = 0.2126, 0.7152, 0.0722
    r, g, b = np.moveaxis(RGB / 255, -1, 0)
    y = red * r + green * g + blue * b
    cb, cr = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
    samples = np.stack([16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr], -1).round().astype(np.uint8)
    tags = [
        (529, 5, 3, (2126, 10000, 7152, 10000, 722, 10000), True),
        (532, 5, 6, (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1), True),
    ]
    path = write(tmp_path / "a.tif", samples, photometric="ycbcr", extratags=tags)

    assert np.abs(seen(path) - RGB).max() <= 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_palette_of_tiff(tmp_path: Path, dtype: type) -> None:
    numbers = np.arange(200 * 300).reshape(200, 300).astype(dtype) % 250
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (3, 256 ** np.dtype(dtype).itemsize)).astype(np.uint16)
    options = {"photometric": "palette", "colormap": palette * 257}
    path = write(tmp_path / "a.tif", numbers.astype(dtype), **options)

    assert np.array_equal(seen(path), palette.T[numbers])


def test_pictures_of_every_mode(tmp_path: Path) -> None:
    palette = Image.fromarray(RGB).quantize(60)
    deep = np.dstack([RGB, ALPHA]).astype(np.uint16) * 257
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(deep[..., :3].copy()))
    (tmp_path / "alpha.png").write_bytes(imagecodecs.png_encode(deep))
    palette.save(tmp_path / "palette.png")
    CMYK.save(tmp_path / "cmyk.jpg", quality=100, subsampling=0)
    Image.fromarray(np.dstack([RGB, ALPHA])).save(tmp_path / "a.webp", lossless=True, exact=True)

    assert np.abs(seen(tmp_path / "deep.png") - RGB).max() <= 1
    assert np.abs(seen(tmp_path / "alpha.png") - ON_WHITE).max() <= 1
    assert np.abs(seen(tmp_path / "a.webp") - ON_WHITE).max() <= 1
    assert np.array_equal(seen(tmp_path / "palette.png"), np.asarray(palette.convert("RGB")))
    with Image.open(tmp_path / "cmyk.jpg") as stored:
        assert np.array_equal(seen(tmp_path / "cmyk.jpg"), np.asarray(stored.convert("RGB")))


def test_a_colour_that_stands_for_transparent(tmp_path: Path) -> None:
    key = tuple(int(value) for value in RGB[5, 5])
    Image.fromarray(RGB).save(tmp_path / "a.png", transparency=key)

    pixels = seen(tmp_path / "a.png")

    assert (pixels[5, 5] == 255).all()
    assert np.array_equal(pixels[100:], RGB[100:])


def wide_gamut() -> bytes:
    """An ICC profile with the primaries of Adobe RGB and a gamma of 2.2."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    curve = b"curv" + struct.pack(">IIHH", 0, 1, round(2.2 * 256), 0)
    tags = {
        b"wtpt": xyz(0.9642, 1, 0.8249),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    return icc(b"mntr", b"RGB ", b"XYZ ", tags)


def printing() -> bytes:
    """An ICC profile of inks that are not what Pillow takes them for."""
    corners = np.array(list(np.ndindex(2, 2, 2, 2)))
    light = 1 - 0.9 * corners[:, 3] - 0.2 * corners[:, :3].sum(1) * (1 - corners[:, 3])
    lab = np.stack([255 * np.clip(light, 0, 1), 128 + 60 * (corners[:, 1] - corners[:, 0])], 1)
    lab = np.column_stack([lab, 128 + 70 * corners[:, 2]]).astype(np.uint8)
    matrix = struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel().tolist())
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + lab.tobytes() + ramp * 3
    tags = {b"A2B0": table, b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)}
    return icc(b"prtr", b"CMYK", b"Lab ", tags)


def icc(device: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    directory, data, offset = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        directory += name + struct.pack(">II", offset + len(data), len(content))
        data += padded
    size = offset + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"\0" * 4, 0x02400000, device, space, connection)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + directory + data


def converted(picture: Image.Image, profile: bytes) -> np.ndarray:
    """To sRGB, by the library."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    found = ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")
    assert found is not None
    return np.asarray(found).astype(int)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "whole.tif", "levels.tif"])
def test_a_profile_is_followed(tmp_path: Path, name: str) -> None:
    path, profile = tmp_path / name, wide_gamut()
    if path.suffix == ".tif":
        levels = 1 if name == "whole.tif" else 2
        write(path, RGB, levels, photometric="rgb", iccprofile=profile)
    else:
        Image.fromarray(RGB).save(path, icc_profile=profile, quality=95)
    stored = Image.open(path) if name == "a.jpg" else Image.fromarray(RGB)

    expected = converted(stored, profile)

    assert np.abs(expected - np.asarray(stored)).max() > 20
    assert np.abs(seen(path) - expected).max() <= 2


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_a_profile_of_inks_is_followed(tmp_path: Path, name: str) -> None:
    path, profile = tmp_path / name, printing()
    if name == "a.tif":
        write(path, INKS, photometric="separated", iccprofile=profile)
        stored = CMYK
    else:
        CMYK.save(path, icc_profile=profile, quality=100)
        stored = Image.open(path)

    expected = converted(stored, profile)

    assert np.abs(expected - np.asarray(stored.convert("RGB"))).mean() > 10
    assert np.abs(seen(path) - expected).max() <= 2


def test_profiles_that_change_nothing(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, profile in enumerate((srgb, b"damaged", printing())):
        Image.fromarray(RGB).save(tmp_path / f"{number}.png", icc_profile=profile)
        assert np.array_equal(seen(tmp_path / f"{number}.png"), RGB)


def test_a_scanners_slide_keeps_its_pixels(svs_slide, tmp_path: Path) -> None:
    """As OpenSlide and QuPath show them."""
    path = svs_slide(profile=wide_gamut())
    with tifffile.TiffFile(path) as file:
        assert file.pages.first.iccprofile == wide_gamut()
        stored = file.pages.first.asarray()

    assert np.array_equal(seen(path), stored)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "CIELAB": (
        lambda path: write(path, RGB, photometric="cielab"),
        "has its colours as CIELAB: convert it to RGB.",
    ),
    "floats": (
        lambda path: write(path, RGB.astype(np.float32), photometric="rgb"),
        "has float32 pixels: convert it to 8 bits per channel.",
    ),
    "32 bits": (
        lambda path: write(path, RGB.astype(np.uint32), photometric="rgb"),
        "has uint32 pixels: convert it to 8 bits per channel.",
    ),
    "five samples": (
        lambda path: write(path, np.dstack([RGB, ALPHA, ALPHA]), photometric="rgb"),
        "has 5 samples per pixel: save only its red, green and blue.",
    ),
    "five channels": (
        lambda path: tifffile.imwrite(
            path,
            np.stack([RGB[..., 0]] * 5),
            photometric="minisblack",
            metadata={"axes": "CYX"},
            ome=True,
        ),
        "has 5 channels: save only its red, green and blue.",
    ),
    "other inks": (
        lambda path: write(path, INKS, photometric="separated", extratags=[(332, 3, 1, 2, True)]),
        "has its colours as SEPARATED: convert it to RGB.",
    ),
    "grey": (
        lambda path: write(path, RGB[..., 0], photometric="minisblack"),
        "is grey: an H&E image in colour is needed.",
    ),
    "grey with alpha": (
        lambda path: Image.fromarray(np.dstack([RGB[..., 0], ALPHA])).save(path, "PNG"),
        "is grey: an H&E image in colour is needed.",
    ),
    "grey, 16 bits": (
        lambda path: Image.fromarray(RGB[..., 0].astype(np.uint16)).save(path, "PNG"),
        "is grey: an H&E image in colour is needed.",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_colours_to_go_by_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    make, message = REFUSED[kind]
    make(path)

    for read in (read_image, open_image):
        with pytest.raises(ImageError) as caught:
            read(path, mpp=0.25)
        assert str(caught.value) == f"{path} {message}"


TWELVE = RGB.astype(np.uint16) * 16 + RGB // 16


@pytest.mark.parametrize("told", ["OME-XML", "MaxSampleValue"])
def test_twelve_bits_in_sixteen(tmp_path: Path, told: str) -> None:
    """As cameras of microscopes write them."""
    path = tmp_path / "a.tif"
    if told == "OME-XML":
        about = {"axes": "YXS", "SignificantBits": 12}
        tifffile.imwrite(path, TWELVE, photometric="rgb", ome=True, metadata=about)
    else:
        write(path, TWELVE, 1, photometric="rgb", extratags=[(281, 3, 3, (4095,) * 3, True)])

    assert np.abs(seen(path) - RGB).max() <= 1


@pytest.mark.parametrize("levels", [1, 2])
def test_twelve_bits_that_nothing_tells_of_are_refused(tmp_path: Path, levels: int) -> None:
    """They would be nearly black."""
    path = write(tmp_path / "a.tif", TWELVE, levels, photometric="rgb")

    with pytest.raises(ImageError) as caught:
        open_image(path, 0.25)
    assert str(caught.value) == (
        f"{path} has 16 bits per sample, of which it seems to use 12 or fewer: convert it to 8 "
        "bits per channel."
    )


@pytest.mark.parametrize("names", [["Blue", "Green", "Red"], ["DAPI", "FITC", "TRITC"]])
def test_channels_of_other_names_are_refused(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "a.ome.tif"
    planes = np.ascontiguousarray(np.moveaxis(RGB, -1, 0))
    about = {"axes": "CYX", "Channel": {"Name": names}}
    tifffile.imwrite(path, planes, photometric="minisblack", ome=True, metadata=about)

    with pytest.raises(ImageError) as caught:
        open_image(path, 0.25)
    assert str(caught.value) == (
        f"{path} has the channels {', '.join(names)}: save it as RGB, red first."
    )
    about["Channel"] = {"Name": ["Red", "G", "blue"]}
    tifffile.imwrite(path, planes, photometric="minisblack", ome=True, metadata=about)
    assert np.array_equal(seen(path), RGB)
