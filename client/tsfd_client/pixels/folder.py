"""The images in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tsfd_client.errors import ImageError
from tsfd_client.files import PARQUET, RUN
from tsfd_client.pixels.scanner import dicom_slides

_PICTURES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_SLIDES: Final = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu")


def expand(paths: Iterable[Path]) -> list[Path]:
    """Replace each folder among some paths by the images in it: see `images_in`."""
    return [image for path in paths for image in (images_in(path) if path.is_dir() else [path])]


def images_in(folder: Path) -> list[Path]:
    """The images in a folder and its subfolders, sorted; if there is DICOM, only its slides.

    Results of `tsfd segment` are left out.

    Returns
    -------
    list[Path]
        A folder that holds one DICOM slide stands for it; of several, one file each.

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
    dicom = {path.parent for path in files if path.suffix.lower() == ".dcm"}
    found = [slide for parent in sorted(dicom) for slide in dicom_slides(parent)]
    found = found or [p for p in files if p.suffix.lower() in (*_PICTURES, *_SLIDES)]
    if not found:
        raise ImageError(
            f"The folder {folder} holds no image: pictures, slides and DICOM are read."
        )
    return found


def _is_result(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RUN, PARQUET))
