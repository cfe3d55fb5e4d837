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


def answered(server: TritonServer, model: str = "nuclei_segmentation") -> int:
    """Tiles that a model of the server has answered."""
    with urllib.request.urlopen(server.metrics_url) as answer:
        text = answer.read().decode()
    found = re.search(rf'nv_inference_count{{model="{model}",version="1"}} (\d+)', text)
    return int(found[1])
