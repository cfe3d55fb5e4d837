"""Files that appear under their name only when they are complete and on the disk; two names."""

from __future__ import annotations

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
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{8}")


def sweep(folder: Path) -> None:
    """Remove what killed processes have left of their `replacing` in a folder."""
    for path in folder.glob(".*"):
        if _PARTIAL.fullmatch(path.name) and path.is_file():
            path.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; what was written becomes `path` when the context ends without an error.

    Raises
    ------
    OSError
        If it cannot be written: `path` is as before.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        partial.unlink(missing_ok=True)
