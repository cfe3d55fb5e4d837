"""A folder with a file of every kind that people have: right nuclei, or one right sentence each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image, ImageCms

from samples.synthetic import generate
from serving.server import TritonServer
from tests.client.dicom_files import write_dicom
from tests.client.slide_files import smaller, write_scn, write_tiff
from tsfd_client.cli import main

FIELD = generate(256, 256, nuclei=30, seed=3).image
YCBCR = cv2.cvtColor(FIELD, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
INKS = np.dstack([255 - FIELD, np.zeros(FIELD.shape[:2], np.uint8)])
OPAQUE = np.full((*FIELD.shape[:2], 1), 255, np.uint8)
BLACK = np.zeros((64, 48, 3), np.uint8)
PER_CM = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
PER_INCH = {"resolution": (101_600, 101_600), "resolutionunit": "INCH"}
ASKS = (
    ": give its micrometres per pixel with --mpp (in Python mpp=). Scans are commonly at 0.5 (20x) "
    "or 0.25 (40x); ask whoever scanned it."
)


def write(path: Path, *images: np.ndarray, **options: object) -> None:
    with tifffile.TiffWriter(path, bigtiff=path.suffix == ".btf") as file:
        for image in images:
            file.write(image, **({"photometric": "rgb", "metadata": None} | PER_CM | options))


def write_ome(path: Path, size: str = "0.25", *, macro: bool = False) -> None:
    images = [("macro", BLACK, "16")] * macro + [("scan", FIELD, size)]
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, image, mpp in images:
            pixels = {"axes": "YXS", "Name": name, "PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
            file.write(image, photometric="rgb", metadata=pixels)


def write_pictures(folder: Path) -> None:
    """Files of the same 256 x 256 pixels at 0.25 micrometres, without a loss."""
    picture = Image.fromarray(FIELD)
    folder.mkdir()
    picture.save(folder / "resolution.png", dpi=(101_600, 101_600))
    turned = Image.Exif()
    turned[0x0112] = 6
    picture.save(folder / "turned.png", dpi=(101_600, 101_600), exif=turned)
    picture.convert("RGBA").save(folder / "alpha.png", dpi=(101_600, 101_600))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(folder / "profile.png", dpi=(101_600, 101_600), icc_profile=srgb)
    write(folder / "inch.tif", FIELD, **PER_INCH)
    write(folder / "sixteen bits.TIFF", FIELD.astype(np.uint16) * 257)
    write(folder / "inks.tif", INKS, photometric="separated")
    write(folder / "alpha of tiff.tif", np.dstack([FIELD, OPAQUE]), extrasamples=["unassalpha"])
    write(folder / "fourth.tif", np.dstack([FIELD, OPAQUE * 0]), extrasamples=["unspecified"])
    write(folder / "planes.tif", np.moveaxis(FIELD, -1, 0), planarconfig="separate")
    write(folder / "white is 0.tif", 255 - FIELD, photometric="miniswhite", planarconfig="contig")
    write(folder / "deflate.btf", FIELD, compression="deflate", tile=(64, 64))
    write(folder / "thumbnail first.tif", smaller(FIELD, 8), FIELD)
    tifffile.imwrite(
        folder / "imagej.tif", FIELD, imagej=True, resolution=(4, 4), metadata={"unit": "\\u00B5m"}
    )
    write_ome(folder / "macro first.ome.tif", macro=True)
    write_ome(folder / "comma.ome.tif", "0,25")
    write_tiff(folder / "levels 1 and 8.tif", FIELD, shrinks=(1, 8))
    write_scn(
        folder / "100% #1?.scn", FIELD, corner=(301, 203), nm=250, shrinks=(1, 2), glass=(900, 800)
    )
    write_dicom(folder / "dicom" / "1.2.3.4", FIELD, series="1.2.3")
    write_dicom(
        folder / "dicom" / "LABEL", BLACK, series="1.2.3", kind="ORIGINAL/PRIMARY/LABEL/NONE"
    )


def write_refused(folder: Path) -> dict[str, str]:
    """Files that cannot be segmented, and what is said of each."""
    picture = Image.fromarray(FIELD)
    folder.mkdir()
    picture.convert("L").save(folder / "grey.png")
    picture.convert("LAB").save(folder / "lab.tif")
    write(folder / "floats.tif", FIELD.astype(np.float32))
    write(folder / "five.tif", np.dstack([FIELD, OPAQUE, OPAQUE]), extrasamples=[0, 0])
    write(folder / "pages.tif", FIELD, FIELD, FIELD)
    write(folder / "oblong.tif", FIELD, resolution=(40_000, 20_000))
    write_ome(folder / "slip.ome.tif", "250")
    (folder / "cut off.tif").write_bytes((folder / "pages.tif").read_bytes()[:90_000])
    (folder / "text.svs").write_text("no slide")
    return {
        "grey.png": "is grey: an H&E image in colour is needed.",
        "lab.tif": "has its colours as CIELAB: convert it to RGB.",
        "floats.tif": "has float32 pixels: convert it to 8 bits per channel.",
        "five.tif": "has 5 samples per pixel: save only its red, green and blue.",
        "pages.tif": "is a stack of 3 images of one size: save the one to segment in a file of "
        "its own.",
        "oblong.tif": "says that its pixels are 0.25 µm wide and 0.5 µm high, and only square ones "
        f"can be segmented{ASKS}",
        "slip.ome.tif": f"states an implausible 250 µm per pixel (0.25 is likely){ASKS}",
        "cut off.tif": "cannot be read as an image: it is cut off, only 90,000 of 196,832 bytes "
        "are there.",
        "text.svs": "cannot be read as an image: its format is unknown.",
    }


REMARKS = {
    "thumbnail first.tif": "It holds 2 images; the largest, number 2 (256 x 256 pixels), is taken.",
    "turned.png": "Its orientation tag (6) asks viewers to turn or mirror it; its pixels are taken "
    "as they are stored, which is how QuPath shows them.",
}


def test_every_kind_of_file_in_one_run(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, out = (tmp_path / name for name in ("good", "bad", "out"))
    write_pictures(good)
    refused = write_refused(bad)

    assert (
        main(["segment", str(good), str(bad), f"--out={out}", f"--server={server.grpc_url}"]) == 1
    )

    *lines, last = capsys.readouterr().err.splitlines()
    expected = [f"tsfd: {bad / name} {text}" for name, text in refused.items()]
    expected += [f"tsfd: {good / name}: {text}" for name, text in REMARKS.items()]
    assert sorted(lines) == sorted(expected)
    assert last == f"tsfd: {len(refused)} of 28 images failed."

    tables = {path.parent.name: pq.read_table(path) for path in out.glob("*/nuclei.parquet")}
    assert len(tables) == 19
    assert len(tables["inch"]) == 29
    for name, table in tables.items():
        assert table.equals(tables["inch"]), name
