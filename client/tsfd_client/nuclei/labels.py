"""The label image of a picture: each pixel holds the id of its nucleus."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import tifffile

from tsfd_client.files import replacing
from tsfd_client.nuclei.raster import draw_bands
from tsfd_client.nuclei.table import count, read_info

PNG: Final = "labels.png"
TIFF: Final = "labels.tif"
_TILE: Final = 512
_BAND: Final = 1 << 23  # pixels drawn at a time in the PNG
_UP: Final = b"\2"  # PNG filter: difference from the row above
_LEVEL: Final = 3  # of compression


def write(parquet: Path, folder: Path) -> None:
    """Write ``labels.png`` (16 bits), or ``labels.tif`` (32 bits) for more than 65,535 nuclei.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    info = read_info(parquet)
    deep = count(parquet) > np.iinfo(np.uint16).max
    bands = draw_bands(parquet, _TILE if deep else max(1, _BAND // info.width))
    with replacing(folder / (TIFF if deep else PNG)) as partial:
        if deep:
            tifffile.imwrite(
                partial,
                (tile for band in bands for tile in _tiles(band)),
                shape=(info.height, info.width),
                dtype=np.uint32,
                tile=(_TILE, _TILE),
                compression="zlib",
                predictor=True,
            )
        else:
            with partial.open("wb") as file:
                _write_png(file, info.height, info.width, bands)
    (folder / (PNG if deep else TIFF)).unlink(missing_ok=True)  # left by an earlier run


def _tiles(band: np.ndarray) -> Iterator[np.ndarray]:
    for left in range(0, band.shape[1], _TILE):
        yield band[:, left : left + _TILE]


def _write_png(file: BinaryIO, height: int, width: int, bands: Iterator[np.ndarray]) -> None:
    """Write a 16-bit greyscale PNG band by band (W3C, Portable Network Graphics, 3rd edition).

    The available libraries need the whole picture in memory.
    """

    def chunk(kind: bytes, data: bytes) -> None:
        file.write(struct.pack(">I", len(data)) + kind + data)
        file.write(struct.pack(">I", zlib.crc32(kind + data)))

    file.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0))
    packer = zlib.compressobj(_LEVEL)
    above = np.zeros((1, 2 * width), np.uint8)
    for band in bands:
        rows = band.astype(">u2").view(np.uint8)
        differences = rows - np.concatenate([above, rows[:-1]])
        marked = np.insert(differences, 0, _UP[0], axis=1)
        chunk(b"IDAT", packer.compress(marked.tobytes()))
        above = rows[-1:]
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")
