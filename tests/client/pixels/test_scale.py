"""What is understood as a scale, format by format: the table in docs/slides.md, row by row."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.client.dicom_files import write_dicom
from tests.client.slide_files import write_tiff
from tsfd_client import ImageError, read_image
from tsfd_client.pixels.opening import open_image

DOCS = Path(__file__).parents[3] / "docs/slides.md"
RGB = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
ASKS = (
    ": give its micrometres per pixel with --mpp (in Python mpp=). Scans are commonly at 0.5 (20x) "
    "or 0.25 (40x); ask whoever scanned it."
)

Writer = Callable[[Path], Path]
Said = float | str | None
"""Micrometres per pixel, why the file is refused, or that it says nothing."""


def tiff(**options: Any) -> Writer:
    def write(folder: Path) -> Path:
        tifffile.imwrite(folder / "a.tif", RGB, photometric="rgb", metadata=None, **options)
        return folder / "a.tif"

    return write


def ome(size: str, unit: str | None = None, *, height: str | None = None) -> Writer:
    units = f' PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}"' if unit else ""
    return described(
        f'<?xml version="1.0"?><OME><Image><Pixels SizeX="80" SizeY="60" SizeC="3" SizeZ="1" '
        f'SizeT="1" DimensionOrder="XYCZT" Type="uint8" PhysicalSizeX="{size}" '
        f'PhysicalSizeY="{height or size}"{units}><Channel SamplesPerPixel="3"/>'
        '<TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
    )


def described(description: str, **options: Any) -> Writer:
    return tiff(description=description.encode(), **options)


def imagej(unit: str, x: float = 4.0, y: float = 4.0, **options: Any) -> Writer:
    return described(f"ImageJ=1.54f\nunit={unit}\nspacing=9\n", resolution=(x, y), **options)


def svs(says: str, **options: Any) -> Writer:
    def write(folder: Path) -> Path:
        options.update({"photometric": "rgb", "metadata": None, "tile": (64, 64)})
        description = f"Aperio Image Library\n80x60 |{says}|Filename = 7"
        tifffile.imwrite(folder / "a.svs", RGB, description=description, **options)
        return folder / "a.svs"

    return write


def picture(name: str, dots: float, down: float | None = None) -> Writer:
    """In dots per inch, as Pillow writes them; PNG has them per metre."""

    def write(folder: Path) -> Path:
        Image.fromarray(RGB).save(folder / name, dpi=(dots, down or dots))
        return folder / name

    return write


def jpeg_per_cm(folder: Path) -> Path:
    path = picture("a.jpg", 40_000)(folder)
    data = bytearray(path.read_bytes())
    data[13] = 2  # JFIF's unit
    path.write_bytes(data)
    return path


def pyramid(resolution: float) -> Writer:
    def write(folder: Path) -> Path:
        write_tiff(folder / "a.tif", RGB, mpp=resolution, shrinks=(1, 2), tile=(16, 16))
        return folder / "a.tif"

    return write


def dicom(**options: Any) -> Writer:
    return lambda folder: write_dicom(folder / "a.dcm", RGB, series="1.2.3.4", **options)


ROWS: dict[str, list[tuple[Writer, Said]]] = {
    "OME-XML, size in µm (the default)": [
        (ome("0.25"), 0.25),
        (ome("0.25", "µm"), 0.25),
        (ome("0.25", "μm"), 0.25),
    ],
    "OME-XML, size in nm, mm or cm": [
        (ome("250", "nm"), 0.25),
        (ome("2.5e-4", "mm"), 0.25),
        (ome("0.000025", "cm"), 0.25),
    ],
    "OME-XML, size in `pixel` or `reference frame`": [
        (ome("1", "pixel"), None),
        (ome("0.25", "reference frame"), None),
    ],
    "ImageJ and QuPath, `unit=` µm, um, `\\u00B5m`, micron; nm, mm": [
        (imagej("\\u00B5m"), 0.25),
        (imagej("um"), 0.25),
        (imagej("µm"), 0.25),
        (tiff(description=b"ImageJ=1.54f\nunit=\xb5m\n", resolution=(4, 4)), 0.25),  # Latin-1
        (imagej("micron"), 0.25),
        (imagej("nm", 0.004, 0.004), 0.25),
        (imagej("mm", 4000, 4000), 0.25),
    ],
    "ImageJ, `unit=` pixel, inch or cm": [
        (imagej("pixel"), None),
        (imagej("inch", 72, 72, resolutionunit="INCH"), None),
        (imagej("cm", 40_000, 40_000, resolutionunit="CENTIMETER"), 0.25),
    ],
    "Aperio, `MPP = 0.25`, `MPP=0.25`": [
        (svs("AppMag = 40|MPP = 0.25"), 0.25),
        (svs("AppMag=40|MPP=0.25"), 0.25),
    ],
    "Aperio, `AppMag = 20` alone": [
        (
            svs("AppMag = 20"),
            "says that it was scanned at 20x (about 0.5 µm per pixel) and not its exact scale",
        ),
    ],
    "decimal commas": [
        (ome("0,25"), 0.25),
        (svs("AppMag = 40|MPP = 0,25"), 0.25),
        (described("Scanner |MPP = 0,25"), 0.25),
    ],
    "damaged numbers, damaged OME-XML": [
        (ome("0.2.5"), "says that its pixels measure '0.2.5', which is not a length"),
        (ome("-0.25"), "says that its pixels measure '-0.25', which is not a length"),
        (ome("nan"), "says that its pixels measure 'nan', which is not a length"),
        (svs("MPP = O.25"), "says that its pixels measure 'O.25', which is not a length"),
        (
            described('<?xml version="1.0"?><OME><Pixels PhysicalSizeX="0.25></OME>'),
            "has damaged OME-XML, so its scale is unknown",
        ),
        (described('<?xml version="1.0"?><OME><Pixels PhysicalSizeX="0.25"/></OME>'), 0.25),
    ],
    "TIFF, resolution per cm or inch, of 0.05 to 2 µm": [
        (tiff(resolution=(40_000, 40_000), resolutionunit="CENTIMETER"), 0.25),
        (tiff(resolution=(101_600, 101_600), resolutionunit="INCH"), 0.25),
        (pyramid(0.25), 0.25),
        (svs("MPP = ", resolution=(40_000, 40_000), resolutionunit="CENTIMETER"), 0.25),
    ],
    "PNG, pixels per metre; JPEG, pixels per cm or inch, of 0.05 to 2 µm": [
        (picture("a.png", 101_600), 0.25),
        (picture("a.jpg", 50_800), 0.5),
        (jpeg_per_cm, 0.25),
    ],
    "TIFF, PNG, JPEG, resolution of an editor: 72, 96, 300 dpi": [
        *((tiff(resolution=(dpi, dpi), resolutionunit="INCH"), None) for dpi in (72, 96, 300)),
        *((picture(name, dpi), None) for name in ("a.png", "a.jpg") for dpi in (72, 96, 300)),
        (tiff(resolution=(40_000, 40_000), resolutionunit="NONE"), None),
    ],
    "DICOM, `PixelSpacing` of all frames": [(dicom(), 0.25)],
    "DICOM, `PixelSpacing` frame by frame: by `ImagedVolumeWidth` and `Height`": [
        (dicom(spacing_of="frames"), 0.25),
    ],
    "off by 1,000 or 10,000": [
        (ome("250"), "states an implausible 250 µm per pixel (0.25 is likely)"),
        (ome("0.00025"), "states an implausible 0.00025 µm per pixel (0.25 is likely)"),
        (ome("2500"), "states an implausible 2500 µm per pixel (0.25 is likely)"),
        (imagej("nm"), "states an implausible 0.00025 µm per pixel (0.25 is likely)"),
        (svs("MPP = 250"), "states an implausible 250 µm per pixel (0.25 is likely)"),
        (dicom(mpp=(250, 250)), "states an implausible 250 µm per pixel (0.25 is likely)"),
        (
            tiff(resolution=(4e8, 4e8), resolutionunit="CENTIMETER"),
            "states an implausible 2.5e-05 µm per pixel (0.25 is likely)",
        ),
        (ome("25"), "states an implausible 25 µm per pixel"),
    ],
    "width and height that differ by up to 2 %": [
        (ome("0.25", height="0.252"), 0.251),
        (imagej("um", 4, 3.97), 0.25094),
        (dicom(mpp=(0.25, 0.252)), 0.251),
        (picture("a.png", 101_600, 100_800), 0.25099),
    ],
    "width and height that differ by more": [
        *(
            (
                write,
                "says that its pixels are 0.25 µm wide and 0.5 µm high, and only square ones can "
                "be segmented",
            )
            for write in (
                ome("0.25", height="0.5"),
                imagej("um", 4, 2),
                dicom(mpp=(0.25, 0.5)),
                tiff(resolution=(40_000, 20_000), resolutionunit="CENTIMETER"),
                picture("a.png", 101_600, 50_800),
            )
        ),
    ],
}
CASES = [
    pytest.param(write, says, id=f"{row} [{number}]")
    for row, cases in ROWS.items()
    for number, (write, says) in enumerate(cases, 1)
]


def asked(read: Callable[[Path], float | None], path: Path) -> Said:
    try:
        return read(path)
    except ImageError as error:
        says, given, rest = str(error).partition(": give")
        assert given + rest == ASKS
        return says.removeprefix(f"{path} ")


def as_a_slide(path: Path) -> float | None:
    with open_image(path, otherwise=1.0) as slide:
        return None if slide.scale_is_assumed else slide.mpp


@pytest.mark.parametrize(("write", "says"), CASES)
def test_what_is_understood(write: Writer, says: Said, tmp_path: Path) -> None:
    path = write(tmp_path)
    expected = pytest.approx(says, rel=1e-4) if isinstance(says, float) else says

    assert asked(as_a_slide, path) == expected
    if path.suffix != ".dcm":
        assert asked(lambda path: read_image(path)[1], path) == expected


@pytest.mark.filterwarnings("ignore:.* was given and is used")
@pytest.mark.parametrize(("write", "says"), CASES)
def test_what_is_given_goes_before_all_of_it(write: Writer, says: Said, tmp_path: Path) -> None:
    path = write(tmp_path)

    with open_image(path, 0.4) as slide:
        assert (slide.mpp, slide.scale_is_assumed) == (0.4, False)
        contradicts = f"It states {says:.4g} µm per pixel; " if isinstance(says, float) else ""
        remark = f"{contradicts}0.4 was given and is used."
        rounded = [re.sub(r"\d+\.\d{4,}", lambda n: f"{float(n[0]):.4g}", r) for r in slide.remarks]
        assert rounded == ([remark] if contradicts else [])
    if path.suffix != ".dcm":
        assert read_image(path, mpp=0.4)[1] == 0.4


@pytest.mark.parametrize(("given", "differs"), [(0.246, False), (0.254, False), (0.24, True)])
def test_a_contradiction_is_more_than_2_percent(
    given: float, differs: bool, tmp_path: Path
) -> None:
    path = ome("0.25")(tmp_path)
    remark = f"It states 0.25 µm per pixel; {given} was given and is used."

    with open_image(path, given) as slide:
        assert slide.remarks == [remark] * differs
    if differs:
        with pytest.warns(UserWarning, match=re.escape(f"{path}: {remark}")):
            read_image(path, mpp=given)


def test_the_table_says_what_is_tested() -> None:
    _, _, after = DOCS.read_text().partition("\n| What a file says | is taken as |\n|---|---|\n")
    lines = after.partition("\n\n")[0].splitlines()

    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == list(ROWS)
