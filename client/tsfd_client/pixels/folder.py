"""The images in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tsfd_client.errors import ImageError
from tsfd_client.files import PARQUET, RUN
from tsfd_client.pixels.dicom import folder_of, slides_among, standing_for
from tsfd_client.remote.address import Place

_PICTURES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_SLIDES: Final = (
    *(".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".czi", ".svslide", ".vms", ".vmu"),
    *(".btf", ".tf8"),
)


def expand(paths: Iterable[Place]) -> list[Place]:
    """Replace each folder, or DICOMDIR, among some paths by the images in it: see `images_in`."""
    images: list[Place] = []
    for path in paths:
        folder = folder_of(path) if isinstance(path, Path) else None
        images += [path] if folder is None else images_in(folder)
    return images


def images_in(folder: Path) -> list[Path]:
    """The images in a folder and its subfolders, sorted: pictures, slides, each DICOM slide once.

    Results of `tsfd segment` are left out, and sites made of them.

    Returns
    -------
    list[Path]
        A DICOM slide is given as its folder, or as one of its files if others are in there, too.

    Raises
    ------
    ImageError
        If there is none. If there are DICOM files and OpenSlide is not installed.
    """
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and not _is_result(path.parent)
    ]
    found = [path for path in files if path.suffix.lower() in (*_PICTURES, *_SLIDES)]
    found = sorted(found + standing_for(slides_among(files)))
    if not found:
        raise ImageError(
            f"The folder {folder} holds no image that can be read (picture, slide or DICOM)."
        )
    return found


def _is_result(folder: Path) -> bool:
    """Whether a folder holds a result, or is one of a site."""
    return any((folder / name).is_file() for name in (RUN, PARQUET, "view.json"))
