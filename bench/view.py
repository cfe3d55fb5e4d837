"""Time the page with many nuclei in a browser: ``python -m bench.view``, part of `make bench`.

A picture is segmented; mirrored copies of it and of its outlines fill a slide. Measures the time to
make vector tiles, the time until the page shows pixels and nuclei, and, over a minute of moving
about, the longest task of the page's main thread and its heap after garbage collection; then the
memory of page and server after opening the slide again and again. Writes
``view.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from playwright.sync_api import Page, sync_playwright

from bench.machine import machine
from samples import histology
from samples.slide import write_slide
from serving.server import ServerError, TritonServer
from tsfd_client import Client, Nuclei, TsfdError, read_image
from tsfd_client.nuclei import wkb
from tsfd_client.nuclei.table import SCHEMA, Info, Writer, boxes_of, from_nuclei, rings_of
from tsfd_client.pixels.opening import open_image
from tsfd_client.pixels.origin import Origin
from tsfd_client.stitching.join import Nucleus
from tsfd_client.view import outlines

_FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_WATCH = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
}).observe({ type: "longtask" });
"""
_TIMES = 20  # that the slide is opened again
_CLOSE = 6.5  # zoom at which outlines are visible; level 0 of 38,000 pixels is zoom 7


def measure(
    nuclei: Nuclei, image: np.ndarray, count: int, seconds: float, folder: Path
) -> dict[str, float]:
    """Make a slide with this many nuclei and view it for some seconds."""
    written = write_result(nuclei, image, count, folder)
    run = folder / "results" / "slide"
    (run / "web").mkdir()
    begin = time.perf_counter()
    outlines.write(run / "nuclei.parquet", run / "web" / "nuclei.pmtiles")
    taken = time.perf_counter() - begin
    command = [sys.executable, "-m", "tsfd_client.cli", "view", str(run.parent), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().split()[-1]
        try:
            seen = look(url, seconds, psutil.Process(server.pid))
        finally:
            server.terminate()
    return {
        "nuclei": written,
        "seconds_of_vector_tiles": round(taken, 1),
        "mb_of_vector_tiles": round((run / "web" / "nuclei.pmtiles").stat().st_size / 1e6, 1),
        **seen,
    }


def write_result(nuclei: Nuclei, image: np.ndarray, count: int, folder: Path) -> int:
    """Write the result of a slide filled with mirrored copies of a picture; returns its nuclei."""
    height, width = image.shape[:2]
    mpp = nuclei.mpp
    period = from_nuclei(_mirrored(nuclei), scale=1.0, mpp=mpp, release=nuclei.release)
    side = math.sqrt(count * 4 * height * width / len(period))
    columns, rows = math.ceil(side / (2 * width)), math.ceil(side / (2 * height))
    side = max(2 * width * columns, 2 * height * rows)
    path = folder / "slide.tif"
    write_slide(path, image, side=side, mm2=2 * (side * mpp / 1000) ** 2)
    run = folder / "results" / "slide"
    run.mkdir(parents=True)
    with open_image(path) as slide:
        info = Info(path.name, slide.width, slide.height, mpp, 1.0, nuclei.release)
        Origin(str(path), slide.fingerprint(), mpp).write(run)
    with Writer(run / "nuclei.parquet", info) as writer:
        for row in range(rows):
            shifts = [(2 * width * column, 2 * height * row) for column in range(columns)]
            writer.write(pa.concat_tables(_shifted(period, *shift) for shift in shifts))
    (run / "DONE").touch()
    return len(period) * rows * columns


def _mirrored(nuclei: Nuclei) -> list[Nucleus]:
    height, width = nuclei.instance_map.shape
    found = []
    for row, box in enumerate(nuclei.boxes.astype(int)):
        x0, y0, x1, y1 = box.tolist()
        mask = nuclei.instance_map[y0:y1, x0:x1] == row + 1
        for y, down in ((y0, 1), (2 * height - y1, -1)):
            for x, right in ((x0, 1), (2 * width - x1, -1)):
                found.append(
                    Nucleus(
                        y,
                        x,
                        mask[::down, ::right],
                        int(nuclei.classes[row]),
                        float(nuclei.class_probs[row]),
                    )
                )
    return found


def _shifted(table: pa.Table, x: int, y: int) -> pa.Table:
    offsets, points = rings_of(table)
    boxes = boxes_of(table) + np.array([x, y, x, y])
    columns = {name: table[name] for name in ("class", "class_prob", "area_um2")} | {
        "centroid_x": table["centroid_x"].to_numpy() + x,
        "centroid_y": table["centroid_y"].to_numpy() + y,
        "bbox": pa.StructArray.from_arrays(
            [pa.array(side) for side in boxes.T.copy()], fields=list(SCHEMA.field("bbox").type)
        ),
        "geometry": wkb.encode(offsets, points + np.array([x, y])),
    }
    return pa.table(columns, schema=SCHEMA.remove(0))


def look(url: str, seconds: float, server: psutil.Process) -> dict[str, float]:
    """Open the page, move about in it, and return its timings."""
    program = shutil.which("chromium")
    if program is None:
        raise FileNotFoundError("chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.add_init_script(_WATCH)
        page.goto(url)
        page.wait_for_selector("#results a")
        begin = time.perf_counter()
        page.click("#results a")
        page.wait_for_selector("body:is([data-state=pixels], [data-state=drawn])", state="attached")
        pixels = time.perf_counter() - begin
        page.wait_for_selector("body[data-state=drawn]", state="attached")
        nuclei = time.perf_counter() - begin
        page.evaluate(
            f"location.hash = location.hash.split('/')[0] + '/20000/20000/{_CLOSE}'; "
            "location.reload()"
        )
        begin = time.perf_counter()
        page.wait_for_selector("body[data-state=drawn]", state="attached")
        close = time.perf_counter() - begin
        page.evaluate("window.longest = 0")
        _move_about(page, seconds)
        heap, resident = _heap(page), server.memory_info().rss
        longest = page.evaluate("window.longest")
        for _ in range(_TIMES):
            page.click("#back")
            page.click("#results a")
            page.wait_for_selector("body[data-state=drawn]", state="attached")
        heap_later, resident_later = _heap(page), server.memory_info().rss
        browser.close()
    return {
        "seconds_until_pixels": round(pixels, 2),
        "seconds_until_nuclei": round(nuclei, 2),
        "seconds_until_outlines_of_a_link": round(close, 2),
        "longest_task_ms": round(longest),
        "heap_mb": round(heap / 1e6),
        "server_mb": round(resident / 1e6),
        f"heap_mb_{_TIMES}_openings_later": round(heap_later / 1e6),
        f"server_mb_{_TIMES}_openings_later": round(resident_later / 1e6),
    }


def _heap(page: Page) -> int:
    """Bytes of the page's heap and buffers, after garbage collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    usage = session.send("Runtime.getHeapUsage")
    session.detach()
    return int(usage["usedSize"] + usage.get("backingStorageSize", 0))


def _move_about(page: Page, seconds: float) -> None:
    """Drag, zoom out and in again, and use the keys, over and over."""
    end = time.perf_counter() + seconds
    page.mouse.move(500, 450)
    turn = 0
    while time.perf_counter() < end:
        turn += 1
        page.mouse.down()
        page.mouse.move(500 + 300 * (-1) ** turn, 450 + 100, steps=20)
        page.mouse.up()
        page.mouse.move(500, 450)
        for direction in (1, -1):
            for _ in range(12):
                page.mouse.wheel(0, 150 * direction)
                page.wait_for_timeout(80)
        for key in ("ArrowLeft", "ArrowDown", "-", "+"):
            page.keyboard.press(key)
            page.wait_for_timeout(300)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.view",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    parser.add_argument("--nuclei", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--seconds", type=float, default=60, help="duration of moving about")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        image, _ = read_image(histology.path())
        with TritonServer() as server, Client(server.grpc_url) as client:
            nuclei = client.segment(image)
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(nuclei, image, arguments.nuclei, arguments.seconds, Path(folder))
    except (ServerError, TsfdError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    for name, value in figures.items():
        print(f"{name:<34} {value:,}")
    path = arguments.out / "view.json"
    path.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n")
    print(f"All in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
