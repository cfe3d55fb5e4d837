"""DICOM slides in folders: which files are one slide, whatever they and their folders are called.

A slide is a series; its levels are files, in one folder or several. Label and overview come as
files of the same series or of another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tsfd_client.errors import ImageError
from tsfd_client.pixels.scanner import ScannerFile, require

_SUFFIXES: Final = ("", ".dcm", ".dicom", ".dic")
_PREAMBLE: Final = 128  # bytes, then the magic ones
_MAGIC: Final = b"DICM"
_INDEX: Final = "DICOMDIR"
_NO_LEVEL: Final = "No pyramid levels found"  # OpenSlide's message for a label or an overview

Files = list[Path]
"""The files of one slide, those of level 0 first."""


class DicomSlide(ScannerFile):
    """The levels of a DICOM slide, whose files may be in several folders; see `Levels`."""

    def __init__(self, files: Files) -> None:
        self._together: TemporaryDirectory[str] | None = None
        first = files[0]
        if len({file.parent for file in files}) > 1:
            # OpenSlide looks for the other levels in the folder of the first.
            self._together = TemporaryDirectory(prefix="tsfd-dicom-")
            links = [
                Path(self._together.name, f"{number}-{file.name}")
                for number, file in enumerate(files)
            ]
            for link, file in zip(links, files, strict=True):
                link.symlink_to(file.absolute())
            first = links[0]
        try:
            super().__init__(first)
        except BaseException:
            self._clean()
            raise

    def close(self) -> None:
        """Close the files."""
        super().close()
        self._clean()

    def _clean(self) -> None:
        if self._together:
            self._together.cleanup()


def may_be_dicom(path: Path) -> bool:
    """Whether a file's name and first bytes are those of DICOM; others are not opened."""
    suffix = path.suffix.lower()
    # The end of a name that is a UID looks like a suffix.
    if not (suffix in _SUFFIXES or suffix[1:].isdecimal()) or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC
    except OSError:
        return False


def folder_of(path: Path) -> Path | None:
    """The folder that a path stands for: itself, or that of a DICOMDIR; None for another file."""
    if path.is_dir():
        return path
    is_index = path.name.upper() == _INDEX and may_be_dicom(path)
    return path.parent if is_index else None


def find_slide(folder: Path) -> Files:
    """The files of the DICOM slide in a folder and its subfolders.

    Raises
    ------
    ImageError
        If there is none, or several slides. If OpenSlide is not installed.
    """
    found = slides_among(path for path in sorted(folder.rglob("*")) if not _is_hidden(path))
    if not found:
        raise ImageError(f"{folder} is a folder that contains no DICOM slide.")
    if len(found) > 1:
        raise ImageError(f"{folder} holds several DICOM slides: give a file of one of them.")
    return found[0]


def slides_among(paths: Iterable[Path]) -> list[Files]:
    """The DICOM slides among some files, including any that cannot be opened (reported later).

    Raises
    ------
    ImageError
        If there is DICOM, and OpenSlide is not installed.
    """
    sizes: dict[str, list[tuple[int, Path]]] = {}
    for path, series, pixels in _levels(path for path in paths if may_be_dicom(path)):
        sizes.setdefault(series, []).append((-pixels, path))
    return [[path for _, path in sorted(files)] for files in sizes.values()]


def standing_for(slides: list[Files]) -> list[Path]:
    """A path for each of the slides in a folder: its folder if it is alone there, else a file."""
    owners: dict[Path, set[int]] = {}
    for number, files in enumerate(slides):
        for folder in {folder for file in files for folder in file.absolute().parents}:
            owners.setdefault(folder, set()).add(number)
    paths = []
    for files in slides:
        around = Path(os.path.commonpath([file.absolute().parent for file in files]))
        is_alone = len(owners[around]) == 1
        paths.append(_as_given(around, files[0]) if is_alone else files[0])
    return paths


def _as_given(around: Path, file: Path) -> Path:
    """A folder around a file, relative where the file is."""
    up = len(file.absolute().parent.relative_to(around).parts)
    folder = file.parents[up] if up < len(file.parents) else around
    return folder if folder.name else around


def _levels(paths: Iterable[Path]) -> Iterator[tuple[Path, str, int]]:
    """Yield each DICOM file that holds a level, with its series and number of pixels.

    Each is opened through a link in an empty folder, as OpenSlide reads whatever is beside a file.
    """
    with TemporaryDirectory(prefix="tsfd-dicom-") as alone:
        link = Path(alone, "level.dcm")
        for path in paths:
            require()
            from openslide import OpenSlide, OpenSlideError, OpenSlideUnsupportedFormatError

            link.symlink_to(path.absolute())
            try:
                with OpenSlide(link) as file:
                    width, height = file.dimensions
                    yield path, file.properties["dicom.SeriesInstanceUID"], width * height
            except OpenSlideUnsupportedFormatError:
                pass  # DICOM of another kind
            except OpenSlideError as error:
                if _NO_LEVEL not in str(error):
                    yield path, str(path), 0
            finally:
                link.unlink()


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")
