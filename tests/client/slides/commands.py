"""The command line in a process of its own, and what it leaves behind."""

from __future__ import annotations

import sys
from pathlib import Path

TSFD = [sys.executable, "-m", "tsfd_client.cli"]
_OUTPUTS = ("nuclei.parquet", "nuclei.geojson.gz", "summary.json", "overview.png")


def outputs(folder: Path) -> dict[str, bytes]:
    """What a slide's finished run is compared by."""
    return {name: (folder / name).read_bytes() for name in _OUTPUTS}
