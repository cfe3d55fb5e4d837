"""Time the stitching of a slide on one core: ``python -m bench.stitching``.

Part of `make bench`. A field of nuclei is cut into the tiles of one block, with different outlines
in each tile, and the block is repeated up to a million nuclei. Measures the joining of nuclei
within blocks and across their seams, without network and output files. Writes ``stitching.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from scipy import ndimage

from bench.machine import machine
from samples.synthetic import generate
from tsfd_client.contract import TILE
from tsfd_client.pixels.box import Box
from tsfd_client.stitching.grid import OVERLAP, SIDE, STEP
from tsfd_client.stitching.seams import from_table, join_seams, split, to_table
from tsfd_client.stitching.versions import Edges, TileNuclei, Version, versions

_PIXELS_PER_NUCLEUS = 2200  # about 30 nuclei per tile
_PATTERN = 1024  # period of the field in pixels
_INNER = Edges(OVERLAP, OVERLAP, OVERLAP, OVERLAP)
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def answers(seed: int = 0) -> list[TileNuclei]:
    """Simulate the answers to a block's tiles, row by row, of a network that varies by tile.

    The field is periodic across the block's borders.
    """
    rng = np.random.default_rng(seed)
    side = SIDE * STEP
    pattern = generate(
        _PATTERN, _PATTERN, nuclei=_PATTERN**2 // _PIXELS_PER_NUCLEUS, seed=seed
    ).instance_map
    # Nuclei cut by the pattern's borders would have straight edges there.
    border = np.concatenate([pattern[0], pattern[-1], pattern[:, 0], pattern[:, -1]])
    pattern[np.isin(pattern, border)] = 0
    repeats = -(-(side + TILE) // _PATTERN)
    field = np.tile(pattern, (repeats, repeats))
    return [
        _answer(rng, field[y : y + TILE, x : x + TILE], y, x)
        for y in range(0, side, STEP)
        for x in range(0, side, STEP)
    ]


def _answer(rng: np.random.Generator, truth: np.ndarray, y: int, x: int) -> TileNuclei:
    instance_map = np.zeros((TILE, TILE), np.uint16)
    rows: list[tuple[float, ...]] = []
    for number, box in enumerate(ndimage.find_objects(truth.astype(np.int32)), start=1):
        if box is None:
            continue
        top, left = (max(0, side.start - 1) for side in box)
        window = np.s_[top : box[0].stop + 1, left : box[1].stop + 1]
        change = cv2.erode if rng.random() < 0.5 else cv2.dilate
        mask = change((truth[window] == number).astype(np.uint8), _CROSS)
        mask[instance_map[window] > 0] = 0
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        if len(stats) == 1:
            continue
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        x0, y0, width, height, area = (stats[largest] + (left, top, 0, 0, 0)).tolist()
        instance_map[window][pieces == largest] = len(rows) + 1
        rows.append((0, 0, x0, y0, x0 + width, y0 + height, area, 1, 0.9, 0, 0))
    return TileNuclei(y, x, instance_map, np.array(rows, np.float32).reshape(-1, 11))


def measure(nuclei: int) -> dict[str, object]:
    """Measure all figures of ``stitching.json`` on a square of blocks with this many nuclei."""
    cv2.setNumThreads(1)
    block = answers()
    side = SIDE * STEP
    per_block = len(split([v for tile in block for v in versions(tile, _INNER)], _own(0, 0))[0])
    across = max(1, round((nuclei / per_block) ** 0.5))
    counts = {"versions": 0, "open": 0, "closed": 0}

    def rows() -> Iterator[tuple[list[Version], int]]:
        for row in range(across):
            tables = []
            for column in range(across):
                y, x = row * side, column * side
                tiles = [TileNuclei(y + t.y, x + t.x, t.instance_map, t.nuclei) for t in block]
                found = [version for tile in tiles for version in versions(tile, _INNER)]
                closed, left_open = split(found, _own(y, x))
                tables.append(to_table(left_open))
                counts["versions"] += len(found)
                counts["open"] += len(left_open)
                counts["closed"] += len(closed)
            yield list(from_table(pa.concat_tables(tables))), (row + 1) * side

    started = time.perf_counter()
    seams = sum(1 for _ in join_seams(rows()))
    seconds = time.perf_counter() - started
    return {
        "machine": machine(),
        "blocks": across**2,
        "tiles": across**2 * len(block),
        "overlap": OVERLAP,
        "nuclei": counts["closed"] + seams,
        "versions": counts["versions"],
        "share_open": round(counts["open"] / counts["versions"], 3),
        "seconds": round(seconds, 1),
        "versions_per_s": round(counts["versions"] / seconds),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _own(y: int, x: int) -> Box:
    side = SIDE * STEP
    reach = (TILE + OVERLAP) // 2  # of extra tiles that preceding blocks ask for between theirs
    return Box(y + reach, x + reach, y + side, x + side)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.stitching",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    parser.add_argument("--nuclei", type=int, default=1_000_000, metavar="N")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    figures = measure(arguments.nuclei)
    path = arguments.out / "stitching.json"
    path.write_text(json.dumps(figures, indent=2) + "\n")
    print(
        f"{figures['nuclei']:,} nuclei in {figures['seconds']} s on one core, "
        f"{figures['versions_per_s']:,} versions/s, {figures['peak_mb']} MB; all in {path}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
