"""Read the scale that a file states, in the terms of each format, and choose the one to use.

Formats made for microscopy state a length: OME-XML, Aperio's and ImageJ's descriptions, DICOM, and
whatever OpenSlide finds. Such a length is believed, and refused if it cannot be right. The
resolution in TIFF, PNG and JPEG is less reliable: microscope cameras write it, but so do editors,
which mean the size on paper. It is used if it is a plausible scale, and otherwise ignored.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import tifffile

from tsfd_client.errors import ImageError
from tsfd_client.pixels.resample import MPP_RANGE, is_possible

_SAME: Final = 0.02  # lengths that differ by less count as equal
_SLIPS: Final = (1e3, 1e4)  # factors between units that get mixed up: nm, µm, mm, cm
_INCH: Final = 25_400.0
_CENTIMETRE: Final = 10_000.0
_BY_TAG: Final = {2: _INCH, 3: _CENTIMETRE, 4: 1e3, 5: 1.0}  # TIFF's ResolutionUnit
_BY_NAME: Final = {
    **dict.fromkeys(("nm", "nanometer", "nanometre", "nanometers", "nanometres"), 1e-3),
    **dict.fromkeys(("μm", "um", "micron", "microns"), 1.0),  # Greek mu, as Unicode has it
    **dict.fromkeys(("micrometer", "micrometre", "micrometers", "micrometres"), 1.0),
    **dict.fromkeys(("mm", "millimeter", "millimetre", "millimeters", "millimetres"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre", "centimeters", "centimetres"), _CENTIMETRE),
    **dict.fromkeys(("m", "meter", "metre", "meters", "metres"), 1e6),
    **dict.fromkeys(("in", "inch", "inches"), _INCH),
}
_NUMBER: Final = re.compile(r"(\d+(?:[.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Scale:
    """What a file states about its scale.

    Attributes
    ----------
    mpp
        Micrometres per pixel; None if the file states nothing usable.
    doubt
        What is wrong with the stated scale, worded to follow the file's name; else empty.
    """

    mpp: float | None = None
    doubt: str = ""


NOTHING: Final = Scale()
"""The scale of a file that states none."""


def of_tiff(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Scale:
    """The scale of a picture in a TIFF; never an error, whatever the metadata."""
    page = series.levels[0].keyframe
    height, width = page.imagelength, page.imagewidth
    description = page.description or ""
    stated = (
        _of_ome(file.pages.first, width, height),
        _of_aperio(description),
        _of_imagej(description, page),
        _of_resolution(page),
        _of_magnification(_entry("AppMag", description)),
    )
    return next((scale for scale in stated if scale != NOTHING), NOTHING)


def of_openslide(properties: Mapping[str, str]) -> Scale:
    """The scale of a slide, from the properties that OpenSlide reports."""
    aperio = properties.get("aperio.MPP")
    unit = _BY_NAME.get(properties.get("tiff.ResolutionUnit", ""), 0.0)
    x, y = (_number(properties.get(f"tiff.{axis}Resolution", "")) or 0.0 for axis in "XY")
    stated = (
        _of_lengths(properties.get("openslide.mpp-x"), properties.get("openslide.mpp-y")),
        _of_lengths(aperio, aperio),
        _of_imaged_volume(properties),
        of_dots(x, y, unit),
        _of_magnification(properties.get("openslide.objective-power")),
    )
    return next((scale for scale in stated if scale != NOTHING), NOTHING)


def of_dots(x: float, y: float, unit: float = _INCH) -> Scale:
    """The scale for a resolution in dots per `unit`, in µm; `NOTHING` if it is for printing."""
    if not (unit > 0 and 0 < x < math.inf and 0 < y < math.inf):
        return NOTHING
    width, height = unit / x, unit / y
    return NOTHING if min(width, height) > MPP_RANGE[1] else _square(width, height)


def settle(path: Path, scale: Scale, given: float | None, *, is_slide: bool) -> float | None:
    """The scale to use: the given one, else the file's; None for a picture that states none.

    Raises
    ------
    ImageError
        If none is given and the file's cannot be used, or the file is a slide that states none.
    """
    if given is not None:
        return given
    if scale.doubt:
        raise refusal(path, scale.doubt)
    if is_slide and scale.mpp is None:
        raise refusal(path, "is a slide that does not say its scale")
    return scale.mpp


def refusal(path: Path, why: str) -> ImageError:
    """The error for a file whose scale must be given."""
    return ImageError(
        f"{path} {why}: give its micrometres per pixel with --mpp (in Python mpp=). Scans are "
        "commonly at 0.5 (20x) or 0.25 (40x); ask whoever scanned it."
    )


def remarks_on(scale: Scale, given: float | None) -> list[str]:
    """Warnings for a user who gives another scale than the file states."""
    if given is None or scale.mpp is None or _agree(scale.mpp, given):
        return []
    return [f"It states {scale.mpp:g} µm per pixel; {given:g} was given and is used."]


def _of_ome(page: tifffile.TiffPage, width: int, height: int) -> Scale:
    """From the OME-XML on a file's first page: of the image of this size, else of the first."""
    if not page.is_ome:
        return NOTHING
    try:
        images = ElementTree.fromstring(page.description).findall(".//{*}Pixels")
    except ElementTree.ParseError:
        return Scale(doubt="has damaged OME-XML, so its scale is unknown")
    size = {"SizeX": str(width), "SizeY": str(height)}
    fitting = [image for image in images if size.items() <= image.attrib.items()]
    if not images:
        return NOTHING
    pixels = (fitting or images)[0]
    x_unit, y_unit = (_unit(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XY")
    return _of_lengths(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeY"), x_unit, y_unit)


def _of_aperio(description: str) -> Scale:
    stated = _entry("MPP", description)
    return _of_lengths(stated, stated)


def _of_imagej(description: str, page: tifffile.TiffPage) -> Scale:
    """From ImageJ's description, which QuPath's exports have, too: it names the resolution's unit.

    For inches and centimetres, TIFF's own unit is used instead (`_of_resolution`).
    """
    named = re.search(r"^unit=(.*)$", description, re.MULTILINE)
    if not description.startswith("ImageJ=") or not named:
        return NOTHING
    unit = _unit(named[1])
    if unit in (0.0, _INCH, _CENTIMETRE):
        return NOTHING
    x, y = _resolutions(page)
    return _square(unit / x, unit / y) if x and y else NOTHING


def _of_resolution(page: tifffile.TiffPage) -> Scale:
    x, y = _resolutions(page)
    return of_dots(x, y, _BY_TAG.get(page.tags.valueof("ResolutionUnit"), 0.0))


def _of_imaged_volume(properties: Mapping[str, str]) -> Scale:
    """From DICOM that gives the size of pixels frame by frame, which OpenSlide does not read."""
    sides = []
    for side, count in (("Width", "Columns"), ("Height", "Rows")):
        millimetres = _number(properties.get(f"dicom.ImagedVolume{side}", ""))
        pixels = _number(properties.get(f"dicom.TotalPixelMatrix{count}", ""))
        if not millimetres or not pixels:
            return NOTHING
        sides.append(1e3 * millimetres / pixels)
    return _square(*sides)


def _of_magnification(stated: str | None) -> Scale:
    """From the magnification alone, which is not exact: a hint, not a scale."""
    times = _number(stated or "")
    if not times:
        return NOTHING
    return Scale(
        doubt=f"says that it was scanned at {times:g}x (about {10 / times:g} µm per pixel) and "
        "not its exact scale"
    )


def _of_lengths(
    width: str | None, height: str | None, x_unit: float = 1.0, y_unit: float = 1.0
) -> Scale:
    """From the width and height of a pixel as written, and their units in micrometres."""
    sides = []
    for text, unit in ((width, x_unit), (height, y_unit)):
        said = (text or "").strip()
        if not said or not unit:
            continue
        number = _number(said)
        if number is None:
            return Scale(doubt=f"says that its pixels measure {said!r}, which is not a length")
        sides.append(number * unit)
    return _square(sides[0], sides[-1]) if sides and all(sides) else NOTHING


def _square(width: float, height: float) -> Scale:
    """From the width and height of a pixel in micrometres."""
    if not _agree(width, height):
        return Scale(
            doubt=f"says that its pixels are {width:g} µm wide and {height:g} µm high, and only "
            "square ones can be segmented"
        )
    mpp = (width + height) / 2
    if is_possible(mpp):
        return Scale(mpp)
    mended = [value for slip in _SLIPS for value in (mpp / slip, mpp * slip) if is_possible(value)]
    likely = f" ({mended[0]:g} is likely)" if mended else ""
    return Scale(doubt=f"states an implausible {mpp:g} µm per pixel{likely}")


def _agree(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=_SAME)


def _resolutions(page: tifffile.TiffPage) -> tuple[float, float]:
    """Pixels per unit, across and down; 0 where that is not known."""
    x, y = (page.tags.valueof(f"{axis}Resolution") for axis in "XY")
    return _ratio(x), _ratio(y or x)


def _ratio(fraction: object) -> float:
    match fraction:
        case (int(dividend), int(divisor)) if divisor:
            return dividend / divisor
    return 0.0


def _entry(key: str, description: str) -> str | None:
    """A value of a description such as Aperio's, ``... |MPP = 0.25|AppMag = 40``."""
    found = re.search(rf"\b{key}\s*=\s*([^|;\r\n]*)", description)
    return found[1] if found else None


def _unit(name: str) -> float:
    """Micrometres in a unit of length; 0 for pixels and for unknown units."""
    plain = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), name)
    return _BY_NAME.get(unicodedata.normalize("NFKC", plain).strip().casefold(), 0.0)


def _number(text: str) -> float | None:
    """A non-negative number with a decimal point or comma; None if the text is anything else."""
    found = _NUMBER.fullmatch(text.strip())
    return float(found[0].replace(",", ".")) if found else None
