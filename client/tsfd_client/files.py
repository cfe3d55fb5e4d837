"""Names of a result's files, and files that appear only when complete and on the disk."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

RUN: Final = "run.json"
PARQUET: Final = "nuclei.parquet"
"""Either of the two makes a folder a result."""
CSV: Final = "nuclei.csv"
"""The table of a picture."""
MARKS: Final = "annotations.geojson"
REGIONS: Final = "regions.geojson"
"""Beside a result: the marks and the regions made on the page."""
COUNTS: Final = "regions.csv"
"""Beside a result: the nuclei in each of its regions."""
MEASURES: Final = "measures.parquet"
"""Beside a result: measurements of every nucleus."""
_UNABLE: Final = (
    *(errno.EINVAL, errno.ENOTSUP, errno.ENOSYS),
    *(errno.EPERM, errno.EACCES, errno.EBADF),
)
"""Errors of file systems that cannot sync a folder, such as SMB's and those of buckets."""
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}")


def sweep(folder: Path) -> None:
    """Remove partial files that killed processes have left in a folder."""
    for path in folder.glob(".*"):
        if _PARTIAL.fullmatch(path.name) and path.is_file():
            path.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which replaces `path` if the context succeeds.

    Raises
    ------
    OSError
        If the file cannot be written; `path` is left unchanged.
    """
    # Without its name, which may already be as long as names can be.
    partial = path.with_name(f".partial.{secrets.token_hex(4)}")
    try:
        yield partial
        # On some shares only files opened for writing can be synced.
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    try:
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
