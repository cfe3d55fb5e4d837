"""Files made for the page: kept in ``web`` in the result's folder, or in the user's cache folder if
the result's folder cannot be written to.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from tsfd_client.errors import OutputError
from tsfd_client.files import replacing

WEB: Final = "web"
"""Folder in a result's folder."""
MOST: Final = 5_000_000_000
"""Bytes that the cache folder may hold; beyond, results that were not looked at for longest go."""


def cache_of(folder: Path) -> Path:
    """Folder of the user's cache for a result's folder."""
    return user_cache_path("tsfd", appauthor=False) / digits_of(folder)


def digits_of(folder: Path) -> str:
    """Digits that tell a folder from others."""
    return hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder; tries it."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def fresh(folder: Path, name: str, since: int, is_whole: Callable[[Path], bool]) -> Path | None:
    """Path of a file kept for a result, None if there is none, or it is out of date or damaged.

    Parameters
    ----------
    folder
        Of the result.
    since
        Time of its nuclei, in nanoseconds; files older than that are out of date.
    is_whole
        Whether a file is undamaged.
    """
    for place in (folder / WEB, cache_of(folder)):
        path = place / name
        if path.is_file() and path.stat().st_mtime_ns >= since and is_whole(path):
            if place.name != WEB:
                os.utime(place)  # it was used
            return path
    return None


def keep(folder: Path, name: str, write: Callable[[Path], None]) -> Path:
    """Make a file for a result; returns its path. May drop from the cache folder what others need.

    Raises
    ------
    OutputError
        If it can be written neither beside the result nor in the cache folder.
    """
    place = folder / WEB
    try:
        try:
            place.mkdir(exist_ok=True)
            writable = is_writable(place)
        except OSError:
            writable = False
        if not writable:
            place = cache_of(folder)
            place.mkdir(parents=True, exist_ok=True)
        with replacing(place / name) as partial:
            write(partial)
        if not writable:
            _bound(place)
    except OSError as error:
        raise OutputError(f"Cannot write {place / name}: {error.strerror or error}.") from error
    return place / name


def _bound(used: Path) -> None:
    """Drop folders beside one that was just used until all are within `MOST`, the oldest first."""
    folders = [path for path in used.parent.iterdir() if path.is_dir()]
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in folders}
    all_of_them = sum(sizes.values())
    for path in sorted(sizes.keys() - {used}, key=lambda path: path.stat().st_mtime):
        if all_of_them <= MOST:
            return
        shutil.rmtree(path, ignore_errors=True)
        all_of_them -= sizes[path]
