"""The finished results that a command line names."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tsfd_client.errors import OutputError
from tsfd_client.files import PARQUET, RUN
from tsfd_client.names import shown
from tsfd_client.slides.status import is_finished


def finished(folders: Sequence[Path]) -> dict[str, Path]:
    """Finished results by name: folders of results are searched, and a line names the unfinished.

    Raises
    ------
    OutputError
        If a folder is none and holds none, or two have the same name.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise OutputError(f"There is no folder {folder}: name results of `tsfd segment`.")
        inside = [folder] if (folder / PARQUET).is_file() else sorted(folder.iterdir())
        own = [path for path in inside if is_finished(path) and (path / PARQUET).is_file()]
        if not own:
            raise OutputError(f"{folder} is no finished result, and holds none.")
        for path in inside:
            if path not in own and (path / RUN).is_file():
                print(f"tsfd: {shown(path)} is not finished: left out.", file=sys.stderr)
        for path in own:
            if found.setdefault(path.name, path) != path:
                raise OutputError(f"Two results are called {path.name}: rename one of the folders.")
    return found
