"""Large TIFFs are read in parts, however they are stored, or refused at once."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from openslide import OpenSlide

from tests.client.slide_files import smaller
from tsfd_client import ImageError, read_image
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.opening import open_image

SIDE = 10_000  # more than is read whole: 300 MB as RGB
READ = """
import resource
import sys
from tsfd_client.pixels.box import Box
from tsfd_client.pixels.opening import open_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_image(sys.argv[1], 0.25) as slide:
    part = slide.at(0.25).read(Box(9_000, 5_000, 9_002, 5_001))
    print(slide.height, slide.width, part.ravel().tolist())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
COLOUR = np.array([200, 120, 180], np.uint8)
STORED = {
    "tiles": ({"tile": (256, 256), "photometric": "rgb"}, COLOUR),
    "strips": ({"rowsperstrip": 40, "photometric": "rgb"}, COLOUR),
    "16 bits": ({"tile": (256, 256), "photometric": "rgb"}, COLOUR * np.uint16(257)),
    "CMYK": ({"tile": (256, 256), "photometric": "separated"}, np.append(255 - COLOUR, [0])),
    "palette": (
        {
            "rowsperstrip": 40,
            "photometric": "palette",
            "colormap": np.tile(COLOUR[:, None] * np.uint16(257), 256),
        },
        np.array([7], np.uint8),
    ),
    "planes": (
        {"tile": (256, 256), "photometric": "rgb", "planarconfig": "separate"},
        COLOUR,
    ),
    "BigTIFF": ({"tile": (256, 256), "photometric": "rgb"}, COLOUR),
}


def pieces(options: dict[str, object], colour: np.ndarray) -> Iterator[bytes]:
    """The tiles or strips, compressed, of a picture of one colour."""
    size, count = ((256, 256), (-(-SIDE // 256)) ** 2)
    if "tile" not in options:
        size, count = (40, SIDE), SIDE // 40
    for sample in colour if "planarconfig" in options else [colour]:
        piece = np.broadcast_to(sample, (*size, np.size(sample)))
        yield from [zlib.compress(piece.tobytes())] * count


@pytest.mark.parametrize("kind", STORED)
def test_a_large_tiff_is_never_in_memory(tmp_path: Path, kind: str) -> None:
    options, colour = STORED[kind]
    colour = colour if colour.dtype == np.uint16 else colour.astype(np.uint8)
    shape = (SIDE, SIDE, len(colour)) if len(colour) > 1 else (SIDE, SIDE)
    shape = shape[-1:] + shape[:-1] if "planarconfig" in options else shape
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=kind == "BigTIFF") as file:
        file.write(
            pieces(options, colour),
            shape=shape,
            dtype=colour.dtype,
            compression="deflate",
            metadata=None,
            **options,
        )

    command = [sys.executable, "-c", READ, tmp_path / "a.tif"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    assert said[0] == f"{SIDE} {SIDE} {COLOUR.tolist() * 2}"
    assert int(said[1]) < 100  # MB


@pytest.mark.parametrize("levels", [1, 2])
def test_one_strip_is_refused_at_once(tmp_path: Path, levels: int) -> None:
    path, side = tmp_path / "a.tif", 8_200
    with tifffile.TiffWriter(path) as file:
        for length in (side, side // 2)[:levels]:
            strip = np.zeros((length, length, 3), np.uint8)
            options = {"photometric": "rgb", "rowsperstrip": length, "compression": "deflate"}
            kind = {"subfiletype": 1} if length < side else {}
            file.write(strip, metadata=None, **kind, **options)

    with pytest.raises(ImageError) as caught:
        open_image(path, 0.25)

    assert str(caught.value) == (
        f"{path} is stored in pieces of 8200 x 8200 pixels, too large to be read in parts: convert "
        "it to tiles, such as with 'vips tiffsave IN OUT --tile --pyramid --bigtiff', or export it "
        "from QuPath as OME-TIFF."
    )


@pytest.mark.parametrize("shrinks", [(1,), (1, 16), (1, 2, 16), (1, 4, 16, 32)])
@pytest.mark.parametrize("options", [{}, {"bigtiff": True}])
def test_levels_may_be_missing(
    tmp_path: Path, picture: np.ndarray, shrinks: tuple[int, ...], options: dict[str, bool]
) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, **options) as file:
        for times in shrinks:
            kind = {"subfiletype": int(times > 1), "photometric": "rgb", "tile": (64, 64)}
            file.write(smaller(picture, times), metadata=None, **kind)

    with open_image(path, 0.25) as slide:
        assert np.array_equal(slide.at(0.25).read(Box(0, 0, 701, 533)), picture)
        small = slide.thumbnail(8.0)
        assert slide.remarks == []
    expected = cv2.resize(picture, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
@pytest.mark.parametrize("compression", [33003, 33005])
def test_jpeg_2000_of_aperio(
    tmp_path: Path, picture: np.ndarray, compression: int, photometric: str
) -> None:
    """33003 is of YCbCr, 33005 of RGB, whatever else the file says; both readers know it."""
    path = tmp_path / "a.svs"
    ycbcr = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    says = "Aperio Image Library\n533x701 |AppMag = 40|MPP = 0.25"
    with tifffile.TiffWriter(path) as file:
        file.write(
            ycbcr if compression == 33003 else picture,
            tile=(128, 128),
            compression=compression,
            compressionargs={"codecformat": "j2k", "level": 0, "reversible": True},
            photometric=photometric,
            description=says,
            metadata=None,
        )
        thumbnail = np.zeros((50, 60, 3), np.uint8)
        file.write(thumbnail, photometric="rgb", description=says, metadata=None)
    assert OpenSlide.detect_format(path) == "aperio"

    with open_image(path) as slide:
        pixels = slide.at(0.25).read(Box(0, 0, 701, 533))
    for seen in (pixels, read_image(path)[0]):
        assert np.abs(seen.astype(int) - picture).max() <= 2
