"""Slides are read in parts, the same pixels whatever the part and the reader."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from openslide import OpenSlide
from PIL import Image

from tests.client.slide_files import drop_tile, smaller
from tsfd_client import ImageError, read_image
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.opening import is_slide, open_image
from tsfd_client.pixels.resample import resample
from tsfd_client.pixels.slide import Slide
from tsfd_client.pixels.tissue import MPP, read_tissue

SLIDE = Path(__file__).parents[4] / "shared/data/slides/cmu-1-small-region.svs"
WITHOUT_OPENSLIDE = """
import sys
from pathlib import Path
sys.modules["openslide"] = None
from tsfd_client.errors import ImageError
from tsfd_client.pixels.opening import is_slide, open_image
path = Path(sys.argv[1])
print(is_slide(path))
try:
    open_image(path)
except ImageError as error:
    print(error)
"""


def read_whole(slide: Slide) -> np.ndarray:
    scaled = slide.at(0.25)
    return scaled.read(Box(0, 0, *scaled.grid.shape))


def in_parts(slide: Slide, side: int) -> np.ndarray:
    """The slide at the network's scale, read in squares by two threads."""
    scaled = slide.at(0.25)
    height, width = scaled.grid.shape
    boxes = [
        Box(y, x, min(height, y + side), min(width, x + side))
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]
    result = np.empty((height, width, 3), np.uint8)
    with ThreadPoolExecutor(2) as pool:
        for (y0, x0, y1, x1), part in zip(boxes, pool.map(scaled.read, boxes), strict=True):
            result[y0:y1, x0:x1] = part
    return result


def refused(path: Path, mpp: float | None = None) -> str:
    """What is said of a slide that cannot be opened."""
    with pytest.raises(ImageError) as caught:
        open_image(path, mpp)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("mpp", [0.2, 0.25, 0.3, 0.499])
def test_parts_of_ome_tiff_equal_the_whole(ome_slide, picture, mpp: float) -> None:
    with open_image(ome_slide(mpp=mpp)) as slide:
        assert np.array_equal(in_parts(slide, 173), resample(picture, mpp, 0.25))
        assert slide.at(0.25).scale == pytest.approx(0.25 / mpp)


@pytest.mark.parametrize("mpp", [0.2, 0.3, 0.499])
def test_parts_of_a_scanners_slide_equal_the_whole(svs_slide, mpp: float) -> None:
    path = svs_slide(mpp=mpp)

    with open_image(path) as slide:
        assert np.array_equal(in_parts(slide, 173), resample(tifffile.imread(path), mpp, 0.25))


@pytest.mark.parametrize("mpp", [0.1, 0.125, 0.13])
def test_the_level_nearest_to_the_network_is_read(
    svs_slide, ome_slide, picture, mpp: float
) -> None:
    """Its pixels lie between those of level 0, where OpenSlide interpolates."""
    for path in (svs_slide(mpp=mpp), ome_slide(mpp=mpp)):
        with open_image(path) as slide:
            assert (slide.height, slide.width) == picture.shape[:2]
            assert slide.at(0.25).grid.mpp == pytest.approx(2 * mpp)
            assert slide.at(0.25).scale == pytest.approx(0.25 / mpp, rel=0.05)
            assert np.array_equal(in_parts(slide, 97), read_whole(slide))
            expected = resample(smaller(picture, 2), 2 * mpp, 0.25).astype(int)
            assert np.abs(read_whole(slide) - expected).mean() < 4


def test_a_levels_scale_does_not_suffer_from_rounding(tiff_slide) -> None:
    with open_image(tiff_slide(mpp=0.03125 * 2, shrinks=(1, 4))) as slide:
        assert slide.at(0.25).scale == 4


@pytest.mark.parametrize("compression", [None, "jpeg", "lzw", "deflate", "jpeg2000"])
def test_plain_tiff(tiff_slide, compression: str | None) -> None:
    path = tiff_slide(compression=compression)

    assert is_slide(path)
    with open_image(path) as slide:
        assert slide.mpp == pytest.approx(0.25)
        assert np.array_equal(in_parts(slide, 200), tifffile.imread(path, series=0, level=0))


@pytest.mark.parametrize("layout", ["strips", "separate", "alpha"])
def test_layouts_of_tiff(tiff_slide, picture, layout: str) -> None:
    options = {
        "strips": {"tile": None, "rowsperstrip": 50},
        "separate": {"planarconfig": "separate"},
        "alpha": {"extrasamples": ["unassalpha"]},
    }[layout]
    if layout == "alpha":
        seen = np.zeros((*picture.shape[:2], 1), np.uint8)
        seen[:300] = 255
        options["image"] = np.concatenate([picture, seen], -1)
        picture = np.where(seen, picture, 255)

    with open_image(tiff_slide(shrinks=(1,), **options)) as slide:
        assert np.array_equal(in_parts(slide, 211), picture)


def test_ome_tiff_with_a_page_per_colour(ome_slide, picture) -> None:
    with open_image(ome_slide(mpp=0.25, planes=True)) as slide:
        assert np.array_equal(in_parts(slide, 211), picture)


def test_both_readers_see_the_same_colours(tmp_path: Path) -> None:
    """The tiles of a real slide, JPEG with common tables, in a file that no scanner wrote."""
    if not SLIDE.is_file():
        pytest.skip("no shared data beside the repository")
    shutil.copy(SLIDE, tmp_path / "plain.tif")
    (tmp_path / "plain.tif").chmod(0o600)
    with tifffile.TiffFile(tmp_path / "plain.tif", mode="r+") as file:
        file.pages[0].tags["ImageDescription"].overwrite("no scanner")

    with open_image(SLIDE, mpp=0.25) as slide, open_image(tmp_path / "plain.tif", 0.25) as plain:
        assert type(slide._levels) is not type(plain._levels)
        assert np.array_equal(read_whole(slide), read_whole(plain))
        assert np.array_equal(read_whole(slide), read_image(SLIDE)[0])


def test_dicom_made_from_a_slide(tmp_path: Path) -> None:
    """Any file of the series, or its folder, names the slide."""
    if not SLIDE.is_file():
        pytest.skip("no shared data beside the repository")
    if not shutil.which("wsidicomizer"):
        pytest.skip("wsidicomizer is not on the path")
    folder, corner = tmp_path / "slide", Box(0, 0, 1000, 1000)
    command = ["wsidicomizer", "-i", SLIDE, "-o", folder]
    subprocess.run(command, check=True, capture_output=True)
    files = sorted(folder.glob("*.dcm"))
    assert len(files) > 1

    with open_image(SLIDE) as slide:
        pixels, mpp = slide.at(0.25).read(corner), slide.mpp
    fingerprints = set()
    for path in (folder, *files):
        assert is_slide(path)
        with open_image(path) as slide:
            assert slide.mpp == mpp
            assert np.array_equal(slide.at(0.25).read(corner), pixels)
            fingerprints.add(slide.fingerprint())
            uids = slide.dicom_uids
    assert len(fingerprints) == 1
    assert f"{uids['SOPInstanceUID']}.dcm" in [path.name for path in files]
    assert len(set(uids.values())) == 3

    series = uids["SeriesInstanceUID"].encode()
    other = series[:-1] + (b"1" if series[-1:] != b"1" else b"2")
    for path in files:
        path.with_stem(f"other{path.stem}").write_bytes(path.read_bytes().replace(series, other))
    assert not is_slide(folder)
    assert "holds several DICOM slides" in refused(folder)


def test_tiles_that_were_never_scanned_are_white(svs_slide, tiff_slide) -> None:
    for path in (svs_slide(mpp=0.25), tiff_slide()):
        drop_tile(path, 1)
        with open_image(path) as slide:
            pixels = read_whole(slide)
        assert (pixels[:128, 128:256] == 255).all()
        assert pixels[:128, :128].mean() < 250


def test_the_thumbnail_shows_the_whole_slide(svs_slide, tiff_slide, picture, tmp_path) -> None:
    outline = '{"type": "Polygon", "coordinates": [[[0, 0], [99, 0], [99, 99], [0, 0]]]}'
    (tmp_path / "tissue.geojson").write_text(outline)
    for path in (svs_slide(), tiff_slide(), tiff_slide("one.tif", shrinks=(1,))):
        with open_image(path) as slide:
            small = slide.thumbnail(MPP)
            mask = read_tissue(tmp_path / "tissue.geojson", slide.height, slide.width, slide.mpp)
            fine = slide.thumbnail(0.1)
        expected = cv2.resize(picture, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - expected).mean() < 3
        assert mask.shape == small.shape[:2]
        assert fine.shape == picture.shape


def test_a_thumbnail_is_made_of_squares_without_seams(tiff_slide) -> None:
    ramp = np.add.outer(np.arange(2500), np.arange(3000)) * 255 / 5500
    image = np.repeat(ramp.astype(np.uint8)[..., None], 3, axis=2)

    with open_image(tiff_slide(image=image, shrinks=(1,), tile=(512, 512))) as slide:
        small = slide.thumbnail(2.3)

    expected = cv2.resize(image, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).max() <= 1


def test_label_and_macro_are_not_read(svs_slide) -> None:
    """Both are black here, and no part of the slide is."""
    with open_image(svs_slide()) as slide:
        assert read_whole(slide).max(axis=2).min() > 0
        assert slide.thumbnail(MPP).max(axis=2).min() > 0


def test_a_scale_may_be_given(svs_slide) -> None:
    with open_image(svs_slide(mpp=0.25), mpp=0.5) as slide:
        assert slide.mpp == 0.5
        assert slide.at(0.25).scale == 0.5


def test_a_fingerprint_follows_the_content(svs_slide, tiff_slide, tmp_path: Path) -> None:
    def fingerprint(path: Path, mpp: float | None = None) -> str:
        with open_image(path, mpp) as slide:
            return slide.fingerprint()

    first = svs_slide(mpp=0.25).rename(tmp_path / "first.svs")
    second = svs_slide(mpp=0.3)
    plain, smaller_one = tiff_slide(), tiff_slide("b.tif", shrinks=(1, 2))

    assert len({fingerprint(path) for path in (first, second, plain, smaller_one)}) == 4
    assert fingerprint(first) == fingerprint(first, mpp=0.5)
    assert fingerprint(first) == fingerprint(first.rename(tmp_path / "moved.svs"))


def test_what_is_a_slide(svs_slide, ome_slide, tiff_slide, picture, tmp_path: Path) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(picture).save(tmp_path / "a.jpg")
    (tmp_path / "damaged.tif").write_bytes(b"II*\0" + bytes(range(256)) * 8)
    (tmp_path / "damaged.svs").write_bytes(svs_slide().read_bytes()[:2000])
    (tmp_path / "folder").mkdir()

    for slide in (svs_slide(), svs_slide(shrinks=(1,)), ome_slide(mpp=0.25), tiff_slide()):
        assert is_slide(slide)
    assert not is_slide(tiff_slide("one.tif", shrinks=(1,)))
    for name in ("a.png", "a.jpg", "damaged.tif", "damaged.svs", "folder", "none.svs"):
        assert not is_slide(tmp_path / name), name


def test_what_cannot_be_opened(svs_slide, tiff_slide, picture, tmp_path: Path) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "damaged.svs").write_bytes(b"II*\0" + bytes(range(256)) * 8)
    (tmp_path / "folder").mkdir()
    deep = tiff_slide("deep.tif", image=picture.astype(np.float32))
    grey = tiff_slide("grey.tif", image=picture[..., 0], photometric="minisblack")
    lab = tiff_slide("lab.tif", photometric="cielab")

    assert refused(tmp_path / "none.svs") == f"There is no file {tmp_path / 'none.svs'}."
    assert "does not say its scale" in refused(tmp_path / "a.png")
    assert "cannot be read as an image: its data are damaged" in refused(tmp_path / "damaged.svs")
    assert "is a folder that contains no DICOM slide" in refused(tmp_path / "folder")
    assert "has float32 pixels: convert it to 8 bits" in refused(deep)
    assert "is grey" in refused(grey)
    assert "has its colours as CIELAB: convert it to RGB." in refused(lab)


def test_scales_that_are_refused(svs_slide, tiff_slide) -> None:
    assert "does not say its scale: give its micrometres per pixel" in refused(tiff_slide(mpp=None))
    assert "scanned at 40x (about 0.25 µm per pixel) and not" in refused(svs_slide(mpp=None))
    assert "states an implausible 25 µm per pixel: give" in refused(svs_slide(mpp=25))
    for mpp in (0.0, -0.25, 0.04, 2.1, float("nan")):
        assert "mpp must be micrometres per pixel between" in refused(svs_slide(), mpp)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_slide_that_was_cut_off_is_refused(svs_slide, tiff_slide, share: float) -> None:
    for path in (svs_slide(), tiff_slide()):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

        message = refused(path)

        assert re.match(rf"{path} cannot be read as (a slide|an image): ", message)
        assert re.search("cut off|damaged|corrupted", message)


def test_a_slide_cut_off_in_its_full_resolution_is_refused(svs_slide) -> None:
    """Some writers put it last: OpenSlide opens the slide and fails at the read, hours later."""
    path = svs_slide()
    with tifffile.TiffFile(path, mode="r+") as file:
        tag = file.pages[0].tags["TileOffsets"]
        tag.overwrite((*tag.value[:-1], path.stat().st_size - 10))
    OpenSlide(path).close()

    assert "cannot be read as a slide: it is cut off, only" in refused(path)


def test_a_damaged_region_is_named(svs_slide, tiff_slide) -> None:
    for path in (svs_slide(), tiff_slide(compression="jpeg")):
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            start, length = page.dataoffsets[6], page.databytecounts[6]  # of 5 tiles a row
        data = bytearray(path.read_bytes())
        data[start : start + length] = b"\x55" * length
        path.write_bytes(data)

        with open_image(path) as slide:
            slide.at(0.25).read(Box(0, 0, 100, 100))
            with pytest.raises(ImageError, match="cannot be read at x 100 to 300, y 90 to 290: "):
                slide.at(0.25).read(Box(90, 100, 290, 300))


def test_without_openslide_a_slide_is_known_and_refused(svs_slide) -> None:
    command = [sys.executable, "-c", WITHOUT_OPENSLIDE, svs_slide()]

    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    assert lines == [
        "True",
        "Slides are read by OpenSlide, which is missing: pip install 'tsfd-client[slides]'.",
    ]
