"""Write the nuclei of a picture in all of its output formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tsfd_client.errors import OutputError
from tsfd_client.files import CSV, PARQUET
from tsfd_client.names import shown
from tsfd_client.nuclei import csv, geojson, labels, overlay, summary
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.nuclei.table import Info, Writer
from tsfd_client.pixels.in_memory import InMemory
from tsfd_client.pixels.origin import Origin
from tsfd_client.pixels.scale import Scale
from tsfd_client.pixels.slide import Slide


def save(
    nuclei: Nuclei,
    image: np.ndarray,
    folder: str | Path,
    *,
    source: str | Path | None = None,
) -> None:
    """Write the nuclei of an image into `folder`, as ``tsfd segment`` does.

    Writes ``nuclei.parquet`` and, from it, ``nuclei.geojson``, ``labels.png``, ``nuclei.csv``,
    ``overlay.png`` and ``summary.json``. With more than 65,535 nuclei the label image is
    ``labels.tif``, 32 bits deep. Each file appears under its name only when it is complete,
    ``summary.json`` last.

    Parameters
    ----------
    image
        uint8 [H, W, 3], in which the nuclei were found.
    source
        File of the image, so that ``tsfd view`` can show it.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    folder, source = Path(folder), Path(source) if source else None
    slide = Slide(source or folder, InMemory(image, Scale(nuclei.mpp), source), nuclei.mpp)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_table(nuclei, slide, folder / PARQUET)
        if source:
            Origin(str(source.resolve()), slide.fingerprint(), nuclei.mpp).write(folder)
        write_picture(folder, slide)
        summary.write(folder / PARQUET, slide.area_mm2, None)
    except OSError as error:
        raise OutputError(f"Cannot write into {folder}: {error.strerror or error}.") from error


def write_picture(folder: Path, slide: Slide) -> None:
    """Write the output files that are made from the ``nuclei.parquet`` of a picture.

    Raises
    ------
    ImageError
        If the picture cannot be read.
    OSError
        If a file cannot be written.
    """
    parquet = folder / PARQUET
    geojson.write(parquet, folder / "nuclei.geojson")
    csv.write(parquet, folder / CSV)
    labels.write(parquet, folder)
    overlay.write(parquet, slide, folder / "overlay.png")


def write_geojson(nuclei: Nuclei, path: str | Path) -> None:
    """Write a GeoJSON FeatureCollection, in image pixels, that QuPath imports as detections."""
    Path(path).write_bytes(b"".join(geojson.lines_of([nuclei.table()], nuclei.release)))


def _write_table(nuclei: Nuclei, slide: Slide, path: Path) -> None:
    where = (shown(slide.path.name), slide.width, slide.height, slide.mpp, nuclei.scale)
    with Writer(path, Info(*where, nuclei.release)) as writer:
        writer.write(nuclei.table())
