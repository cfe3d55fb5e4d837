"""``tsfd measure``: measure the nuclei of finished results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tsfd_client.cli.results import finished
from tsfd_client.errors import DiskFullError, TsfdError
from tsfd_client.files import MEASURES
from tsfd_client.names import shown
from tsfd_client.slides.measure import measure
from tsfd_client.slides.memory import give_back


def measure_all(folders: Sequence[Path]) -> int:
    """Measure the nuclei of results, or of all results in folders; return the exit code."""
    give_back()
    failed = 0
    for folder in finished(folders).values():
        try:
            measure(folder)
        except TsfdError as error:
            print(f"tsfd: {shown(str(error))}", file=sys.stderr, flush=True)
            failed += 1
            if isinstance(error, DiskFullError):
                break
        else:
            print(shown(folder / MEASURES), flush=True)
    return 1 if failed else 0
