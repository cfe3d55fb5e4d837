"""The command line in a process of its own, what it leaves behind and what it has asked."""

from __future__ import annotations

import re
import sys
import urllib.request
from pathlib import Path

from serving.server import TritonServer

TSFD = [sys.executable, "-m", "tsfd_client.cli"]
_OUTPUTS = ("nuclei.parquet", "nuclei.geojson.gz", "summary.json", "overview.png")


def outputs(folder: Path) -> dict[str, bytes]:
    """What a slide's finished run is compared by."""
    return {name: (folder / name).read_bytes() for name in _OUTPUTS}


def answered(server: TritonServer) -> int:
    """Tiles that the server has segmented."""
    with urllib.request.urlopen(server.metrics_url) as answer:
        text = answer.read().decode()
    found = re.search(r'nv_inference_count{model="nuclei_segmentation",version="1"} (\d+)', text)
    return int(found[1])
