"""Write a result: GeoJSON for QuPath, label image, table, overlay."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from tsfd_client.errors import OutputError
from tsfd_client.files import replacing
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.pixels.in_memory import Whole
from tsfd_client.pixels.origin import Origin
from tsfd_client.pixels.slide import Slide
from tsfd_client.pixels.tissue import FILE as TISSUE
from tsfd_client.pixels.tissue import to_geojson

_LARGEST_OVERLAY = 8192
_SMOOTH = 0.8  # pixels: takes the steps out of the outlines in the picture


def save(
    nuclei: Nuclei,
    image: np.ndarray,
    folder: Path,
    *,
    parquet: bool = False,
    source: Path | None = None,
    tissue: np.ndarray | None = None,
) -> None:
    """Write ``nuclei.geojson``, ``labels.png``, ``nuclei.csv`` and ``overlay.png`` into `folder`.

    With more than 65,535 nuclei the label image is ``labels.tif``, 32 bits deep. With `parquet`
    the table is ``nuclei.parquet``. `source` is the image's file, for ``tsfd view``, and
    `tissue`, bool [h, w], where alone it was segmented: ``tissue.geojson``. Each file appears under
    its name only when it is complete, the overlay last.

    Raises
    ------
    OutputError
        If a file cannot be written, or pyarrow is needed and missing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "nuclei.geojson", lambda path: write_geojson(nuclei, path))
        if len(nuclei) > np.iinfo(np.uint16).max:
            labels = nuclei.instance_map.astype(np.uint32)
            _replace(folder / "labels.tif", lambda p: tifffile.imwrite(p, labels, compression=8))
        else:
            labels = nuclei.instance_map.astype(np.uint16)
            _replace(folder / "labels.png", lambda p: Image.fromarray(labels).save(p, "PNG"))
        if parquet:
            _replace(folder / "nuclei.parquet", lambda path: _write_parquet(nuclei, path))
        else:
            _replace(folder / "nuclei.csv", lambda path: _write_csv(nuclei, path))
        if source:
            slide = Slide(source, Whole(image, nuclei.mpp), nuclei.mpp)
            Origin(str(source.resolve()), slide.fingerprint(), nuclei.mpp).write(folder)
        if tissue is None:
            (folder / TISSUE).unlink(missing_ok=True)  # of another run
        else:
            outline = json.dumps(to_geojson(tissue, *image.shape[:2])) + "\n"
            _replace(folder / TISSUE, lambda path: path.write_text(outline))
        picture = overlay(nuclei, image)
        _replace(folder / "overlay.png", lambda p: Image.fromarray(picture).save(p, "PNG"))
    except OSError as error:
        raise OutputError(f"Cannot write into {folder}: {error.strerror or error}.") from error


def write_geojson(nuclei: Nuclei, path: Path) -> None:
    """Write a GeoJSON FeatureCollection that QuPath imports as detections, in image pixels."""
    colours = nuclei.release.colours
    features = [
        {
            "type": "Feature",
            "id": f"nucleus-{row + 1}",
            "geometry": {"type": "Polygon", "coordinates": [_ring(nuclei.contours[row])]},
            "properties": {
                "objectType": "detection",
                "classification": {"name": name.capitalize(), "color": list(colours[name])},
                "measurements": {
                    "Area µm^2": round(float(nuclei.areas_um2[row]), 3),
                    "Class probability": round(float(nuclei.class_probs[row]), 4),
                    "Centroid X px": round(float(nuclei.centroids[row, 0]), 2),
                    "Centroid Y px": round(float(nuclei.centroids[row, 1]), 2),
                },
            },
        }
        for row, name in enumerate(nuclei.class_names)
    ]
    collection = {
        "type": "FeatureCollection",
        "release": nuclei.release.name,
        "served": nuclei.release.to_dict(),
        "features": features,
    }
    text = json.dumps(collection, ensure_ascii=False, separators=(",", ":"))
    path.write_text(text, encoding="utf-8")


def overlay(nuclei: Nuclei, image: np.ndarray) -> np.ndarray:
    """Draw the outlines in their class' colour, with a legend that counts them, uint8 [H, W, 3].

    Images of more than 8192 pixels a side are drawn smaller.
    """
    # Small images are drawn larger: an outline one pixel wide hides what it surrounds.
    zoom = min(2.0 if max(image.shape) <= 1500 else 1.0, _LARGEST_OVERLAY / max(image.shape))
    kind = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
    picture = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=kind)
    fraction = 4  # bits of sub-pixel position
    colours = nuclei.release.colours
    for name, contour in zip(nuclei.class_names, nuclei.contours, strict=True):
        smooth = cv2.approxPolyDP(contour, _SMOOTH, closed=True)
        points = np.round((smooth * zoom - 0.5) * 2**fraction).astype(np.int32)
        cv2.polylines(
            picture, [points], True, colours[name], 2, lineType=cv2.LINE_AA, shift=fraction
        )
    _draw_legend(picture, nuclei.counts(), colours)
    return picture


def _draw_legend(
    picture: np.ndarray, counts: dict[str, int], colours: dict[str, tuple[int, int, int]]
) -> None:
    line, width = 20, 150
    height = line * len(counts) + 10
    if picture.shape[0] < height or picture.shape[1] < width:
        return
    corner = picture[:height, :width]
    corner[:] = (corner * 0.25 + 255 * 0.75).astype(np.uint8)
    for row, (name, count) in enumerate(counts.items()):
        y = 5 + row * line
        cv2.rectangle(picture, (6, y + 4), (18, y + 16), colours[name], -1)
        text = f"{count} {name}"
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(picture, text, (24, y + 15), font, 0.42, (30, 30, 30), 1, cv2.LINE_AA)


def _ring(contour: np.ndarray) -> list[list[float]]:
    points = np.round(contour.astype(float), 2).tolist()
    return [*points, points[0]]


def _write_csv(nuclei: Nuclei, path: Path) -> None:
    table = nuclei.table()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        for row in zip(*table.values(), strict=True):
            writer.writerow(round(float(v), 4) if isinstance(v, np.floating) else v for v in row)


def _write_parquet(nuclei: Nuclei, path: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise OutputError("Parquet needs pyarrow: pip install 'tsfd-client[parquet]'.") from error
    pyarrow.parquet.write_table(pyarrow.table(nuclei.table()), path)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    with replacing(path) as partial:
        write(partial)
        partial.chmod(0o644)
