"""Time a slide from file to outputs: ``python -m bench.slides``, part of `make bench`.

Starts the server and runs ``tsfd segment`` on a slide as a user would, on the same cores. Measures
time per mm², the share of time in which the network works, the client's processor time and memory,
and the cost of stopping and resuming. Then it sends requests of the same size for some seconds, to
show what reading, stitching and writing cost. Writes ``slides.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.load import closed_loop
from bench.machine import machine
from samples import histology
from samples.patches import patches
from samples.slide import write_slide
from serving.server import ServerError, TritonServer
from tsfd_client import Client, TsfdError, read_image
from tsfd_client.slides.events import read_events
from tsfd_client.slides.status import status_of

_SIDE, _MM2 = 16_384, 3.0
_PAUSE = 0.1  # seconds between samples
_BATCH, _IN_FLIGHT = 4, 4
_NETWORK = "tsfd_net"


def measure(server: TritonServer, slide: Path, folder: Path) -> dict[str, object]:
    """Segment a slide in one go, then again with a stop in the middle."""
    whole = _segment(server, slide, folder / "whole")
    status = status_of(folder / "whole" / slide.stem)
    half = 0.5 * status.seconds
    stopped = _segment(server, slide, folder / "stopped", stop_after=half)
    resumed = _segment(server, slide, folder / "stopped")
    tiles = patches()
    with Client(server.grpc_url, transport="shm") as client:
        alone = closed_loop(
            lambda n: client.segment_tiles(tiles.take(range(n, n + _BATCH), 0, mode="wrap")),
            concurrency=_IN_FLIGHT,
            batch=_BATCH,
            seconds=10.0,
        )
    return {
        "slide": slide.name,
        "segmented_mm2": status.mm2,
        "tiles": status.tiles,
        "nuclei": status.nuclei,
        "seconds": round(whole["seconds"], 1),
        "seconds_per_mm2": round(whole["seconds"] / status.mm2, 2),
        "nuclei_per_s": round(status.nuclei / whole["seconds"]),
        "network_busy": _busy(whole, folder / "whole" / slide.stem),
        "tiles_asked": _asked(folder / "whole" / slide.stem),
        "tiles_per_s": round(
            _asked(folder / "whole" / slide.stem) / _requesting(folder / "whole" / slide.stem), 1
        ),
        "tiles_per_s_requests_alone": round(alone.patches_per_second, 1),
        "client_cpu_s_per_mm2": round(whole["cpu"] / status.mm2, 2),
        "client_peak_mb": round(whole["peak"] / 1e6),
        "stop_and_go_on": round((stopped["seconds"] + resumed["seconds"]) / whole["seconds"], 3),
    }


def _segment(
    server: TritonServer, slide: Path, out: Path, *, stop_after: float | None = None
) -> dict[str, object]:
    """Run the command and measure time, processor time, memory, and when the network works."""
    command = [sys.executable, "-m", "tsfd_client.cli", "segment", str(slide)]
    command += [f"--out={out}", f"--server={server.grpc_url}"]
    (stub,) = (
        process
        for process in psutil.Process(server.pid).children()
        if any(_NETWORK in word for word in process.cmdline())
    )
    began = time.perf_counter()
    client = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak, cpu, looks = 0, 0.0, []
    before = sum(stub.cpu_times()[:2])
    while client.poll() is None:
        time.sleep(_PAUSE)
        try:
            peak = max(peak, client.memory_info().rss)
            cpu = sum(client.cpu_times()[:2])
        except psutil.Error:  # the process has just ended
            break
        used = sum(stub.cpu_times()[:2])
        looks.append((time.time(), used > before))
        before = used
        if stop_after is not None and time.perf_counter() - began > stop_after:
            client.kill()
    _, errors = client.communicate()
    if client.returncode != 0 and stop_after is None:
        raise TsfdError(errors.strip())
    return {"seconds": time.perf_counter() - began, "peak": peak, "cpu": cpu, "looks": looks}


def _busy(run: dict[str, object], folder: Path) -> float:
    """Share of samples with a busy network, from the first request to the last answer."""
    begin, end = _span(folder)
    looks = [busy for when, busy in run["looks"] if begin <= when <= end]
    return round(sum(looks) / len(looks), 3)


def _asked(folder: Path) -> int:
    return sum(event.get("asked", 0) for event in read_events(folder))


def _requesting(folder: Path) -> float:
    begin, end = _span(folder)
    return end - begin


def _span(folder: Path) -> tuple[float, float]:
    times = {event["event"]: event["time"] for event in read_events(folder)}
    return times["begun"], times["joining"]


def disc(folder: Path) -> Path:
    """Write the slide that is segmented by default, a disc of tissue made from the demo's image."""
    slide = folder / "disc.tif"
    picture, _ = read_image(histology.path(), mpp=histology.MPP)
    write_slide(slide, picture, side=_SIDE, mm2=_MM2)
    return slide


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.slides",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    parser.add_argument("--slide", type=Path, help="default: one made from the demo's image")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as folder, TritonServer() as server:
            slide = arguments.slide or disc(Path(folder))
            figures = measure(server, slide, Path(folder))
    except (ServerError, TsfdError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    path = arguments.out / "slides.json"
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n")
    for name, value in figures.items():
        print(f"{name:28} {value}")
    print(f"All in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
