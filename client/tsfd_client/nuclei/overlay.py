"""Draw the outlines of nuclei on their image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from tsfd_client.files import replacing
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.nuclei.table import read_batches, read_info, rings_of
from tsfd_client.pixels.slide import Slide

_LARGEST: Final = 8192  # pixels of the longer side
_SMALL: Final = 1500
_SMOOTH: Final = 0.8  # pixels: tolerance that smooths the steps of outlines
_FRACTION: Final = 4  # bits of sub-pixel position
_LEVEL: Final = 3  # of compression: a third of the default's time, 6 % larger

Outline = tuple[str, np.ndarray]
"""A class, and float [n, 2]: x, y in pixels of the image."""


def overlay(nuclei: Nuclei, image: np.ndarray) -> np.ndarray:
    """Draw outlines in their class's colour, with a legend of counts; returns uint8 [H, W, 3].

    The result has at most 8192 pixels a side.
    """
    zoom = _zoom(*image.shape[:2])
    kind = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
    picture = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=kind)
    outlines = zip(nuclei.class_names, nuclei.contours, strict=True)
    _draw(picture, outlines, nuclei.release.colours, zoom)
    return picture


def write(parquet: Path, slide: Slide, path: Path) -> None:
    """Write the overlay of a ``nuclei.parquet`` on its image, as PNG.

    Raises
    ------
    ImageError
        If the image cannot be read.
    OSError
        If the file cannot be written.
    """
    zoom = _zoom(slide.height, slide.width)
    picture = slide.thumbnail(slide.mpp / min(1.0, zoom))
    if zoom > 1:
        picture = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    outlines = (
        (name, points[a : b - 1])
        for table in read_batches(parquet, ["class", "geometry"])
        for offsets, points in [rings_of(table)]
        for name, a, b in zip(table["class"].to_pylist(), offsets, offsets[1:], strict=False)
    )
    _draw(picture, outlines, read_info(parquet).release.colours, zoom)
    with replacing(path) as partial:
        Image.fromarray(picture).save(partial, "PNG", compress_level=_LEVEL)


def _zoom(height: int, width: int) -> float:
    # Small images are enlarged, because outlines would hide small nuclei.
    longer = max(height, width)
    return min(2.0 if longer <= _SMALL else 1.0, _LARGEST / longer)


def _draw(
    picture: np.ndarray,
    outlines: Iterable[Outline],
    colours: dict[str, tuple[int, int, int]],
    zoom: float,
) -> None:
    counts = dict.fromkeys(colours, 0)
    for name, outline in outlines:
        counts[name] += 1
        smooth = cv2.approxPolyDP(outline.astype(np.float32), _SMOOTH, closed=True)
        points = np.round((smooth * zoom - 0.5) * 2**_FRACTION).astype(np.int32)
        cv2.polylines(
            picture, [points], True, colours[name], 2, lineType=cv2.LINE_AA, shift=_FRACTION
        )
    _draw_legend(picture, counts, colours)


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
