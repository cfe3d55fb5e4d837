"""Which of the images in a file is the slide: the largest in colour, and one of a stack never."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image

from tests.client.dicom_files import write_dicom
from tests.client.slide_files import smaller, write_scn
from tsfd_client import ImageError, read_image
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.opening import open_image
from tsfd_client.pixels.slide import Slide

FEW = np.random.default_rng(8).integers(0, 256, (9, 11, 3), np.uint8)
RGB = cv2.resize(FEW, (300, 200), interpolation=cv2.INTER_LINEAR)
BLACK = np.zeros((64, 48, 3), np.uint8)
TAKEN = "It holds {} images; the largest, number {} (300 x 200 pixels), is taken."
SAVE = "save the one to segment in a file of its own."


def whole(slide: Slide) -> np.ndarray:
    scaled = slide.at(slide.mpp)
    return scaled.read(Box(0, 0, *scaled.grid.shape))


def refused(path: Path) -> str:
    """What is said of it, by both ways to read it."""
    said = set()
    for read in (read_image, open_image):
        with pytest.raises(ImageError) as caught:
            read(path, mpp=0.25)
        said.add(str(caught.value))
    assert len(said) == 1
    return said.pop()


def write(path: Path, *images: np.ndarray, **told: object) -> Path:
    """Write images one after the other; of each a list of what it is called may be told."""
    with tifffile.TiffWriter(path) as file:
        for number, image in enumerate(images):
            options = {name: values[number] for name, values in told.items()}  # type: ignore[index]
            kind = {"photometric": "rgb" if image.ndim == 3 else "minisblack"}
            file.write(image, metadata=None, **(kind | options))
    return path


def write_ome(path: Path, images: dict[str, tuple[np.ndarray, float]]) -> Path:
    """Write images by name, each with its micrometres per pixel and a level of half its size."""
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, (image, mpp) in images.items():
            said = {"axes": "YXS", "Name": name, "PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
            options = {"photometric": "rgb", "tile": (64, 64)}
            file.write(image, subifds=1, metadata=said, **options)
            file.write(smaller(image, 2), subfiletype=1, **options)
    return path


def test_the_largest_image_of_ome_tiff_with_its_own_scale(tmp_path: Path) -> None:
    images = {"first": (BLACK, 16.0), "second": (RGB, 0.5), "third": (BLACK[:32], 2.0)}
    path = write_ome(tmp_path / "a.ome.tif", images)

    with open_image(path) as slide:
        assert not slide.is_picture
        assert slide.mpp == 0.5
        assert np.array_equal(whole(slide), RGB)
        assert slide.thumbnail(1.0).shape == (100, 150, 3)
        assert slide.remarks == [TAKEN.format(3, 2)]
    with pytest.warns(UserWarning, match="It holds 3 images; the largest, number 2"):
        pixels, mpp = read_image(path)
    assert np.array_equal(pixels, RGB)
    assert mpp == 0.5


@pytest.mark.parametrize("name", ["macro", "Macro image", "slide_label", "Thumbnail", "overview"])
@pytest.mark.parametrize("is_first", [True, False])
def test_what_is_named_otherwise_is_not_taken_however_large(
    tmp_path: Path, name: str, is_first: bool
) -> None:
    """And there is nothing to choose."""
    large = np.zeros((500, 400, 3), np.uint8)
    images = {name: (large, 16.0), "macrophages": (RGB, 0.5)}
    order = list(images)[:: 1 if is_first else -1]
    path = write_ome(tmp_path / "a.ome.tif", {each: images[each] for each in order})

    with open_image(path) as slide:
        assert np.array_equal(whole(slide), RGB)
        assert slide.mpp == 0.5
        assert slide.remarks == []


def test_the_largest_page_of_plain_tiff(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", BLACK, RGB, BLACK[:30, :20])

    with open_image(path, 0.25) as slide:
        assert np.array_equal(whole(slide), RGB)
        assert slide.remarks == [TAKEN.format(3, 2)]


def test_grey_images_are_no_choice(tmp_path: Path) -> None:
    """Masks, for example."""
    mask = np.zeros((400, 600), np.uint8)
    path = write(tmp_path / "a.tif", mask, RGB)

    with open_image(path, 0.25) as slide:
        assert np.array_equal(whole(slide), RGB)
        assert slide.remarks == []


@pytest.mark.parametrize("text", ["Macro", "label 48x64", "Scanner\nmacro 48x64"])
@pytest.mark.parametrize("size", [(400, 600), (500, 400), (100, 150)])
def test_pages_that_are_described_otherwise_are_not_taken(
    tmp_path: Path, text: str, size: tuple[int, int]
) -> None:
    """Nor for levels, though they may have twice or half the size."""
    images, texts = [np.zeros((*size, 3), np.uint8), RGB], [text, "Scanner\n300x200"]
    if size < RGB.shape[:2]:
        images, texts = images[::-1], texts[::-1]
    path = write(tmp_path / "a.tif", *images, description=texts)

    with open_image(path, 0.25) as slide:
        assert np.array_equal(whole(slide), RGB)
        assert np.abs(slide.thumbnail(0.5).astype(int) - smaller(RGB, 2)).max() <= 1
        assert slide.remarks == []


def test_an_aperio_slide_in_strips(tmp_path: Path) -> None:
    """OpenSlide does not know it."""
    told = ["Aperio Image Library\n300x200|MPP = 0.5", "Aperio\nlabel 400x500", "Aperio\nmacro 9x9"]
    large = np.zeros((500, 400, 3), np.uint8)
    path = write(tmp_path / "a.svs", RGB, large, large[:400], description=told)

    with open_image(path) as slide:
        assert slide.mpp == 0.5
        assert np.array_equal(whole(slide), RGB)
        assert slide.remarks == []


def test_neither_label_nor_macro_of_a_scanners_slide(scn_slide, svs_slide, picture) -> None:
    """Which comes first in one, and is black in both."""
    paths = (scn_slide(corner=(301, 203)), svs_slide())
    for path in paths:
        with open_image(path, 0.25) as slide:
            assert slide.remarks == []
            assert np.abs(whole(slide).astype(int) - picture).mean() < 3
        assert np.abs(read_image(path, mpp=0.25)[0].astype(int) - picture).mean() < 3


STACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "focal planes": (
        lambda path: tifffile.imwrite(
            path, np.stack([RGB] * 3), photometric="rgb", metadata={"axes": "ZYXS"}, ome=True
        ),
        "3 focal planes",
    ),
    "time points": (
        lambda path: tifffile.imwrite(
            path, np.stack([RGB] * 4), photometric="rgb", metadata={"axes": "TYXS"}, ome=True
        ),
        "4 time points",
    ),
    "channels": (
        lambda path: tifffile.imwrite(
            path, np.stack([RGB] * 2), photometric="rgb", metadata={"axes": "CYXS"}, ome=True
        ),
        "2 channels",
    ),
    "focal planes of ImageJ": (
        lambda path: tifffile.imwrite(
            path, np.stack([RGB] * 3), imagej=True, metadata={"axes": "ZYXS"}
        ),
        "3 focal planes",
    ),
    "planes per colour": (
        lambda path: tifffile.imwrite(
            path,
            np.stack([RGB.transpose(2, 0, 1)] * 2),
            photometric="minisblack",
            metadata={"axes": "ZCYX"},
            ome=True,
        ),
        "2 focal planes",
    ),
    "pages": (lambda path: write(path, RGB, 255 - RGB), "2 images of one size"),
    "pages of two kinds": (
        lambda path: write(path, RGB, RGB, compression=[None, "lzw"]),
        "2 images of one size",
    ),
    "OME images": (
        lambda path: write_ome(path, {"a": (RGB, 0.5), "b": (255 - RGB, 0.5)}),
        "2 images of one size",
    ),
    "GIF": (
        lambda path: Image.fromarray(RGB).save(
            path, "GIF", save_all=True, append_images=[Image.fromarray(255 - RGB)]
        ),
        "2 images of one size",
    ),
}


@pytest.mark.parametrize("kind", STACKS)
def test_stacks_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    make, named = STACKS[kind]
    make(path)

    assert refused(path) == f"{path} is a stack of {named}: {SAVE}"


def test_a_picture_over_several_files_is_refused(tmp_path: Path) -> None:
    """Green and blue are elsewhere."""
    names = ["r.ome.tif", "g.ome.tif", "b.ome.tif"]
    urns = [f"urn:uuid:00000000-0000-0000-0000-00000000000{number}" for number in range(3)]
    planes = "".join(
        f'<TiffData FirstC="{n}" IFD="0" PlaneCount="1"><UUID FileName="{names[n]}">{urns[n]}'
        "</UUID></TiffData>"
        for n in range(3)
    )
    for n, name in enumerate(names):
        xml = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
        xml += f' UUID="{urns[n]}"><Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint8"'
        xml += ' DimensionOrder="XYCZT" SizeX="300" SizeY="200" SizeC="3" SizeZ="1" SizeT="1">'
        xml += f"{planes}</Pixels></Image></OME>"
        write(tmp_path / name, np.ascontiguousarray(RGB[..., n]), description=[xml])

    path = tmp_path / names[0]
    assert refused(path) == f"{path} is spread over several files: save it as one."


def test_of_several_pictures_by_a_camera_the_first_is_taken(tmp_path: Path) -> None:
    second = Image.fromarray(255 - RGB)
    Image.fromarray(RGB).save(
        tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=95
    )

    with open_image(tmp_path / "a.jpg", 0.25) as slide:
        assert np.abs(whole(slide).astype(int) - RGB).mean() < 3
        assert slide.remarks == ["It holds 2 images; the first is taken."]


def test_a_dicom_slide_of_focal_planes(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RGB, series="1.2.3.4")
    file = pydicom.dcmread(path)
    file.TotalPixelMatrixFocalPlanes = 2
    file.NumberOfFrames *= 2
    file.PixelData *= 2
    file.save_as(path)

    with pytest.raises(ImageError) as caught:
        open_image(path)
    assert str(caught.value) == f"{path} is a stack of 2 focal planes: {SAVE}"


def scn(path: Path) -> None:
    sizes = {"glass": (1000, 900), "shrinks": (1, 2)}
    write_scn(path, RGB, corner=(31, 23), nm=250, planes=3, **sizes)


def svs(path: Path) -> None:
    says = "Aperio Image Library\n300x200 |AppMag = 40|MPP = 0.25"
    options = {"description": says, "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(RGB, tile=(64, 64), **options)
        file.write(BLACK, **options)
        for image in (255 - RGB, RGB // 2):
            file.write(image, tile=(64, 64), **options)


def ndpi(path: Path) -> None:
    """The plane in focus is in the middle."""
    options = {"photometric": "rgb", "metadata": None, "compression": "jpeg", "rowsperstrip": 200}
    scale = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        for offset, image in ((-2000, 255 - RGB), (0, RGB), (2000, 255 - RGB)):
            tags = [(65420, "I", 1, 1, True), (65421, "f", 1, 40.0, True)]
            tags += [(65424, "i", 1, offset, True), (271, "s", 0, "Hamamatsu", True)]
            file.write(image, extratags=tags, **options, **scale)


@pytest.mark.parametrize(("make", "name"), [(scn, "a.scn"), (svs, "a.svs"), (ndpi, "ndpi.tif")])
def test_of_a_scanners_focal_planes_that_of_openslide_is_taken(
    tmp_path: Path, make: Callable[[Path], None], name: str
) -> None:
    """And told of; a thumbnail is of the same plane."""
    make(tmp_path / name)

    with open_image(tmp_path / name) as slide:
        assert np.abs(whole(slide).astype(int) - RGB).mean() < 3
        assert np.abs(slide.thumbnail(0.25).astype(int) - RGB).mean() < 3
        assert slide.remarks == [
            "It has 3 focal planes; the one that OpenSlide and QuPath show is taken."
        ]
