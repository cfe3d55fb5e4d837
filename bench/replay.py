"""Measure memory and time for a slide of many nuclei: ``python -m bench.replay``.

Part of `make bench`. A slide of bare glass is segmented as by ``tsfd segment``, except that its
tiles are answered from a recorded block instead of by a server. Each size runs in a process of its
own, to measure its peak memory. Writes ``replay.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np

from bench.machine import machine
from bench.stitching import answers
from samples.slide import write_slide
from training.target import PANNUKE
from tsfd_client.contract import TILE, TISSUES
from tsfd_client.nuclei.assembly import TileResult
from tsfd_client.settings import Settings
from tsfd_client.slides import segment_image
from tsfd_client.slides.events import read_events
from tsfd_client.slides.many import Job
from tsfd_client.slides.memory import collect_seldom, give_back
from tsfd_client.slides.options import RunOptions
from tsfd_client.slides.pipeline import Pipeline
from tsfd_client.slides.status import status_of
from tsfd_client.stitching.grid import OVERLAP, SIDE, STEP
from tsfd_client.stitching.versions import Corner

_RELEASE = PANNUKE.release("replay", Settings())
_WHITE = np.full((TILE, TILE, 3), 243, np.uint8)


class _Replay(Pipeline):
    """Answers tiles from the recorded block, which is repeated over the slide."""

    async def _answers(self, corners: Sequence[Corner], batch: np.ndarray) -> list[TileResult]:
        return [_RECORDED[y // STEP % SIDE, x // STEP % SIDE] for y, x in corners]


_RECORDED: dict[tuple[int, int], TileResult] = {}


def replay(blocks: int, folder: Path) -> dict[str, float]:
    """Segment a square slide with `blocks` blocks per side; returns times and peak memory."""
    for tile in answers():
        tissues = np.full(len(TISSUES), 1 / len(TISSUES), np.float32)
        _RECORDED[tile.y // STEP, tile.x // STEP] = TileResult(
            tile.instance_map, tile.nuclei, tissues, _RELEASE.name
        )
    give_back()  # as the command line does
    collect_seldom()
    path = folder / "glass.tif"
    write_slide(path, _WHITE, side=blocks * SIDE * STEP + OVERLAP, mm2=0)
    with patch.object(segment_image, "Pipeline", _Replay):
        job = Job(path, folder, RunOptions(everywhere=True), {"max_in_flight": 1}, _RELEASE)
        job.run()
    status = status_of(folder)
    times = {event["event"]: event["time"] for event in read_events(folder)}
    return {
        "nuclei": status.nuclei,
        "tiles": status.tiles,
        "seconds_blocks": round(times["joining"] - times["begun"], 1),
        "seconds_outputs": round(times["done"] - times["joining"], 1),
        "peak_mb": round(_peak_kb() / 1024),
    }


def _peak_kb() -> int:
    """Peak memory of this process; getrusage may return its parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM")


def measure(blocks: int) -> dict[str, float]:
    """Run `replay` in its own process and folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.replay", "--folder", folder, f"--blocks={blocks}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    parser.add_argument("--nuclei", type=int, default=5_000_000, metavar="N")
    parser.add_argument("--blocks", type=int, help="blocks per side, in this process")
    parser.add_argument("--folder", type=Path, help="folder for --blocks")
    arguments = parser.parse_args(argv)
    if arguments.blocks:
        print(json.dumps(replay(arguments.blocks, arguments.folder)))
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    per_block = sum(len(tile.nuclei) for tile in answers()) * STEP**2 / TILE**2
    blocks = max(2, math.ceil((arguments.nuclei / per_block) ** 0.5))
    sizes = [measure(max(1, blocks // 2)), measure(blocks)]
    path = arguments.out / "replay.json"
    path.write_text(json.dumps({"machine": machine(), "sizes": sizes}, indent=2) + "\n")
    for size in sizes:
        print(
            f"{size['nuclei']:,} nuclei: {size['seconds_blocks']} s for the blocks, "
            f"{size['seconds_outputs']} s for seams and outputs, {size['peak_mb']} MB"
        )
    print(f"All in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
