"""Where an image has tissue: found on a thumbnail, or read from the polygons of a GeoJSON file.

Stained tissue has a colour and glass has none, so saturation tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from tsfd_client.errors import ImageError
from tsfd_client.pixels.annotations import Annotation, read_annotations
from tsfd_client.pixels.outlines import outlines

MPP = 8.0
"""Scale of the masks, micrometres per pixel."""
FILE = "tissue.geojson"
"""Name of the mask in a result's folder."""

_SIGMA_UM = 8.0  # noise of the scanner and dust are smaller
_SATURATION = (6.0, 12.0)  # of 255: glass, tinted glass; pale tissue begins at once above
_SPECK_UM2 = 1_000.0
_MARGIN_UM = 32.0  # pale rims belong to the tissue
_GLASS_UM = 2.0  # finer is noise
_GLASS_SATURATION, _GLASS_BRIGHTNESS = 10, 200  # of 255
_SHIFT = 4  # OpenCV draws in sixteenths of a pixel
_INSET = 2.0**-_SHIFT  # pixels: an outline on the edge would touch the pixels beyond
_FINE, _FINEST = 512, 32  # parts along an area's sides, at most so many of a pixel
_IGNORED: Final = "*"  # ends the names of classes that QuPath ignores
_CUT_OUT: Final = "Ignore*"


def find_tissue(thumbnail: np.ndarray, mpp: float = MPP) -> np.ndarray:
    """Tissue on a thumbnail: what is more coloured than glass, and its surroundings.

    Glass with a strong tint counts as tissue on a slide that has nothing else.

    Parameters
    ----------
    thumbnail
        uint8 [h, w, 3], RGB.
    mpp
        Of the thumbnail, micrometres per pixel.

    Returns
    -------
    bool [h, w]
    """
    smooth = cv2.GaussianBlur(thumbnail, (0, 0), _SIGMA_UM / mpp)
    saturation = smooth.max(axis=2) - smooth.min(axis=2)
    # Without glass, Otsu's threshold separates dark from pale tissue: use half of it, limited.
    otsu, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_OTSU)
    stained = saturation > np.clip(otsu / 2, *_SATURATION)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(stained.astype(np.uint8))
    large = stats[:, cv2.CC_STAT_AREA] * mpp**2 >= _SPECK_UM2
    large[0] = False  # what is not stained
    side = 2 * round(_MARGIN_UM / mpp) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.dilate(large[pieces].astype(np.uint8), disc) > 0


def is_glass(pixels: np.ndarray, mpp: float) -> bool:
    """Whether there is nothing but glass: no place of 2 micrometres has a colour or is dark.

    True for 3 of the 2,249 tiles of annotated images at hand, none of which has a nucleus.

    Parameters
    ----------
    pixels
        uint8 [h, w, 3], RGB.
    mpp
        Their micrometres per pixel.
    """
    times = _GLASS_UM / mpp
    size = [max(1, round(length / times)) for length in pixels.shape[1::-1]]
    places = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    colours = cv2.split(places)
    saturation = np.maximum.reduce(colours) - np.minimum.reduce(colours)
    return bool(saturation.max() <= _GLASS_SATURATION and places.min() >= _GLASS_BRIGHTNESS)


def read_tissue(
    path: Path, height: int, width: int, mpp: float, kind: str | None = None
) -> np.ndarray:
    """Tissue as outlined in a GeoJSON file, such as QuPath exports.

    Parameters
    ----------
    path
        Of the file, gzipped or not. Its polygons are in pixels of the slide's level 0, as QuPath
        shows them; points and lines are left out.
    height, width
        Of the slide's level 0, pixels.
    mpp
        Of level 0, micrometres per pixel.
    kind
        The class of the polygons to take. By default all but those whose class ends in ``*``,
        which QuPath ignores. What ``Ignore*`` outlines is cut out of the others.

    Returns
    -------
    bool [round(height * mpp / 8), round(width * mpp / 8)]
        Every pixel that a polygon touches.

    Raises
    ------
    ImageError
        If the file is missing, not GeoJSON, or has no such polygon on the slide.
    """
    annotations = read_annotations(path)
    chosen = _chosen(path, annotations, kind)
    shape = max(1, round(height * mpp / MPP)), max(1, round(width * mpp / MPP))
    scale = np.array([shape[1] / width, shape[0] / height])
    mask = _drawn(chosen, shape, scale)
    if not mask.any():
        raise ImageError(
            f"{path} has no polygon{_of_class(kind)} on the image, which is {width} x {height} "
            "pixels: its coordinates must be pixels of the full resolution."
        )
    mask &= ~_drawn([a for a in annotations if a.kind == _CUT_OUT != kind], shape, scale)
    if not mask.any():
        raise ImageError(f"{path} outlines nothing that its {_CUT_OUT} polygons leave over.")
    return mask


def to_geojson(tissue: np.ndarray, height: int, width: int) -> dict[str, Any]:
    """A mask bool [h, w] as polygons in pixels of the slide's level 0, as `read_tissue` takes."""
    scale = np.array([width / tissue.shape[1], height / tissue.shape[0]])
    features = []
    for rings in outlines(tissue, _INSET):
        closed = [np.concatenate([ring, ring[:1]]) * scale for ring in rings]
        polygon = {"type": "Polygon", "coordinates": [ring.round(2).tolist() for ring in closed]}
        features.append({"type": "Feature", "geometry": polygon, "properties": {}})
    return {"type": "FeatureCollection", "features": features}


def lies_on(
    tissue: np.ndarray, x: np.ndarray, y: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Which places lie on the tissue.

    Parameters
    ----------
    tissue
        bool [h, w], the whole image.
    x, y
        Float [n], pixels of the image.
    height, width
        Of the image, pixels.

    Returns
    -------
    bool [n]
    """
    rows, columns = tissue.shape
    row = np.clip(y * (rows / height), 0, rows - 1).astype(np.intp)
    column = np.clip(x * (columns / width), 0, columns - 1).astype(np.intp)
    on: np.ndarray = tissue[row, column]
    return on


def share_on(
    tissue: np.ndarray, polygons: Sequence[Sequence[np.ndarray]], height: int, width: int
) -> float:
    """Which part of an area lies on the tissue.

    Parameters
    ----------
    tissue
        bool [h, w], the whole image.
    polygons
        The area: of each polygon its outer ring and its holes, float [n, 2], x and y in pixels of
        the image.
    height, width
        Of the image, pixels.

    Returns
    -------
    float
        0 if no part of the area is on the image.
    """
    scale = np.array([tissue.shape[1] / width, tissue.shape[0] / height])
    corners = np.concatenate([outer for outer, *_ in polygons]) * scale
    x0, y0 = np.floor(np.clip(corners.min(axis=0), 0, tissue.shape[::-1])).astype(int)
    x1, y1 = np.ceil(np.clip(corners.max(axis=0), 0, tissue.shape[::-1])).astype(int)
    part = tissue[y0:y1, x0:x1]
    if not part.size:
        return 0.0
    times = int(np.clip(_FINE // max(part.shape), 1, _FINEST))
    part = part.repeat(times, axis=0).repeat(times, axis=1)
    area = np.zeros(part.shape, np.uint8)
    for rings in polygons:
        _draw(area, [_on_mask(ring - (x0, y0) / scale, scale * times) for ring in rings])
    covered = np.count_nonzero(area)
    return np.count_nonzero(area & part) / covered if covered else 0.0


def run_lengths(mask: np.ndarray) -> list[int]:
    """A mask bool [h, w], row by row: how many pixels are outside, inside, outside, ..."""
    flat = mask.ravel()
    turns = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0], turns, [flat.size]])
    lengths: list[int] = np.diff(edges).tolist()
    return [0, *lengths] if flat[0] else lengths


def _chosen(path: Path, annotations: list[Annotation], kind: str | None) -> list[Annotation]:
    """The polygons of a class; without one, all that QuPath does not ignore."""
    if not annotations:
        raise ImageError(f"{path} has no polygon: outline the tissue with polygons.")
    known = ", ".join(sorted({each.kind for each in annotations if each.kind}))
    if kind is not None:
        chosen = [each for each in annotations if each.kind == kind]
        if not chosen:
            there = f"its classes are {known}" if known else "none of its polygons has a class"
            raise ImageError(f"{path} has no polygon{_of_class(kind)}: {there}.")
        return chosen
    chosen = [each for each in annotations if not (each.kind or "").endswith(_IGNORED)]
    if not chosen:
        raise ImageError(
            f"{path} has only polygons of classes that QuPath ignores ({known}): name one with "
            "--tissue-class (in Python tissue_class=)."
        )
    return chosen


def _of_class(kind: str | None) -> str:
    return "" if kind is None else f" of the class {kind!r}"


def _drawn(annotations: list[Annotation], shape: tuple[int, int], scale: np.ndarray) -> np.ndarray:
    """A mask of polygons, bool of `shape`; `scale` is its pixels per pixel of level 0, x and y."""
    mask = np.zeros(shape, np.uint8)
    for annotation in annotations:
        _draw(mask, [_on_mask(ring, scale) for ring in annotation.rings])
    return mask > 0


def _on_mask(ring: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """A ring on the mask: int32 [n, 1, 2], x and y, in OpenCV's sixteenths from pixel centres."""
    far = float(1 << 20)  # pixels of the mask, beyond any slide and within 32 bits
    places = np.clip(ring * scale - 0.5, -far, far)
    drawn: np.ndarray = np.round(places * 2**_SHIFT).astype(np.int32)
    return drawn[:, None]


def _draw(mask: np.ndarray, rings: list[np.ndarray]) -> None:
    """Fill a polygon, except for its holes, in the part of the mask where it lies."""
    x0, y0 = np.maximum(0, rings[0].min(axis=(0, 1)) // 2**_SHIFT)
    x1, y1 = rings[0].max(axis=(0, 1)) // 2**_SHIFT + 2
    part = mask[y0 : max(0, y1), x0 : max(0, x1)]
    if part.size:
        drawn = np.zeros(part.shape, np.uint8)
        origin = (-int(x0), -int(y0))
        cv2.fillPoly(
            drawn, [ring + np.array(origin) * 2**_SHIFT for ring in rings], 1, shift=_SHIFT
        )
        part |= drawn
