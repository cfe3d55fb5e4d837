"""Which result a file of marks or outlines is of: it is told by names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tsfd_client.errors import TsfdError
from tsfd_client.files import MARKS, PARQUET
from tsfd_client.nuclei.table import read_info
from tsfd_client.pixels.origin import image_of


def by_image(results: Mapping[str, Path]) -> list[list[str]]:
    """Names of the results of each image: marks are places on it, not of one of them."""
    found: dict[str, list[str]] = {}
    for name, folder in results.items():
        found.setdefault(image_of(folder) or name, []).append(name)
    return list(found.values())


def slides_of(
    results: Mapping[str, Path], images: Sequence[Sequence[str]]
) -> dict[str, str | None]:
    """File name of the image by the result's name.

    It is None for all but the first result of each image, of which `images` are the names.
    """
    slides: dict[str, str | None] = {}
    for first, *others in images:
        slides[first] = read_info(results[first] / PARQUET).slide
        slides |= dict.fromkeys(others)
    return slides


def slide_of(path: Path, content: Any, slides: Mapping[str, str | None]) -> str:
    """The result that GeoJSON is of: the one that its ``slide`` says, that its own name or folder
    has, or the only image's.

    Parameters
    ----------
    path
        Of the file.
    content
        What is in it.
    slides
        As of `tsfd_client.classes.marks.read_marks`.

    Raises
    ------
    TsfdError
        If it cannot be said.
    """
    said = content.get("slide") if isinstance(content, dict) else None
    folder = path.absolute().parent.name
    if path.name == MARKS and folder in slides:  # the page's own, whatever image it was made on
        return folder
    if said:
        try:
            return find_slide(str(said), slides)
        except TsfdError as error:
            raise TsfdError(f"{path} says which slide it is of, but {error}") from error
    for name in (path.name.partition(".geojson")[0], path.stem, folder):
        try:
            return find_slide(name, slides)
        except TsfdError:
            continue
    if len(list(filter(None, slides.values()))) <= 1:  # all are of one image
        return next(iter(slides))
    raise TsfdError(
        f"{path} does not say which result it is of: give it the result's name, as in "
        f"{next(iter(slides), 'slide')}.geojson."
    )


class UnknownSlideError(TsfdError):
    """A slide is named that is none of the results."""


def find_slide(text: str, slides: Mapping[str, str | None]) -> str:
    """The result that is meant: by its name, or by its image's file name with or without suffix.

    Raises
    ------
    UnknownSlideError
        If there is none.
    TsfdError
        If there is more than one, or no text.
    """
    if not text:
        raise TsfdError("the slide is empty.")
    if text in slides:
        return text
    images = {name: image for name, image in slides.items() if image}
    found = [name for name, image in images.items() if text in (image, Path(image).stem)]
    if len(found) > 1:
        raise TsfdError(f"{text!r} is the image of {' and '.join(found)}: name the result instead.")
    if not found:
        raise UnknownSlideError(f"there is no result {text!r}, and none of an image of that name.")
    return found[0]
