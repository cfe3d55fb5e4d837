"""Time the post-processing on one core: ``python -m bench.postprocess``, part of `make bench`.

Varies the number of nuclei at a fixed size and the size at a fixed density, and compares one patch
of 30 nuclei with the authors' own steps. Writes ``postprocess.json`` and ``postprocess.png``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import instances
import numpy as np

from bench.authors import split
from bench.machine import machine
from training.evaluation import reference

_COUNTS = (0, 50, 100, 250, 500, 1000, 1500, 2000)
_COUNTED_SIDE = 1024
_COUNTED_RADIUS = 10  # 2,000 of them fit
_SIDES = (256, 512, 1024, 2048, 4096)
_PATCH_NUCLEI = 30  # in 256 x 256 pixels, as in PanNuke
_KERNEL = (5, 5)


def scene(
    side: int, nuclei: int, *, radius: int = 15, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Make probabilities of a square field of separate elliptic nuclei, blurred like a network's.

    Semi-axes are 0.7 to 1 times `radius` pixels; nuclei lie on a grid and must fit its cells.

    Returns
    -------
    class_probs
        uint8 [side, side, 6]
    boundary_prob
        uint8 [side, side]
    """
    rng = np.random.default_rng(seed)
    class_probs = np.zeros((side, side, 6), np.uint8)
    boundary = np.zeros((side, side), np.uint8)
    across = max(1, math.ceil(math.sqrt(nuclei)))
    cell = side / across
    planes = [np.zeros((side, side), np.uint8) for _ in range(5)]
    for i in rng.permutation(across**2)[:nuclei].tolist():
        centre = tuple(int(cell * (k + 0.5)) for k in (i % across, i // across))
        axes = tuple(int(radius * s) for s in rng.uniform(0.7, 1, 2))
        angle = int(rng.integers(180))
        cv2.ellipse(planes[rng.integers(5)], centre, axes, angle, 0, 360, 255, -1)
        cv2.ellipse(boundary, centre, axes, angle, 0, 360, 255, 2)
    for c, plane in enumerate(planes, start=1):
        class_probs[..., c] = cv2.GaussianBlur(plane, _KERNEL, 0)
    class_probs[..., 0] = 255 - np.minimum(class_probs[..., 1:].sum(axis=2, dtype=int), 255)
    return class_probs, cv2.GaussianBlur(boundary, _KERNEL, 0)


def milliseconds(call: Callable[[], object], seconds: float) -> float:
    """Median time of a call, repeated for some seconds and at least three times."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return round(1000 * float(np.median(times)), 3)


def measure(
    *,
    counts: tuple[int, ...] = _COUNTS,
    sides: tuple[int, ...] = _SIDES,
    seconds: float = 1.0,
) -> dict[str, object]:
    """Measure all figures of ``postprocess.json``; each takes `seconds`."""
    cv2.setNumThreads(1)
    instances.warm_up()
    patch = scene(256, _PATCH_NUCLEI)
    ours = milliseconds(lambda: instances.extract(*patch), seconds)
    authors = milliseconds(lambda: split(*patch), seconds)
    return {
        "machine": machine(),
        "patch": {
            "nuclei": len(instances.extract(*patch).nuclei),
            "watershed_ms": ours,
            "reference_ms": milliseconds(
                lambda: reference.extract(*patch, instances.Parameters()), seconds
            ),
            "authors_steps_ms": authors,
        },
        "ratio_vs_reference": round(authors / ours, 1),
        "by_nuclei": [
            _point(scene(_COUNTED_SIDE, count, radius=_COUNTED_RADIUS), seconds) for count in counts
        ],
        "by_side": [
            _point(scene(side, _PATCH_NUCLEI * (side // 256) ** 2), seconds) for side in sides
        ],
    }


def _point(maps: tuple[np.ndarray, np.ndarray], seconds: float) -> dict[str, float]:
    found = len(instances.extract(*maps).nuclei)
    ms = milliseconds(lambda: instances.extract(*maps), seconds)
    return {"side": len(maps[1]), "nuclei": found, "ms": ms}


def plot(figures: dict[str, object], path: Path) -> None:
    """Plot both curves, and the times of each implementation for one patch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, right, methods = figure.subplots(1, 3)
    by_nuclei, by_side = figures["by_nuclei"], figures["by_side"]
    left.plot([p["nuclei"] for p in by_nuclei], [p["ms"] for p in by_nuclei], "o-")
    left.set(xlabel=f"nuclei in {_COUNTED_SIDE}² pixels", ylabel="ms", ylim=(0, None))
    right.loglog([p["side"] ** 2 / 1e6 for p in by_side], [p["ms"] for p in by_side], "o-")
    right.set(xlabel=f"megapixels, {_PATCH_NUCLEI} nuclei per 256²", ylabel="ms")
    patch = figures["patch"]
    bars = methods.bar(
        ["watershed", "reference", "authors' steps"],
        [patch["watershed_ms"], patch["reference_ms"], patch["authors_steps_ms"]],
    )
    methods.bar_label(bars, fmt="%.1f")
    methods.set(xlabel=f"a patch of {patch['nuclei']} nuclei", ylabel="ms")
    figure.suptitle(f"Post-processing, one core of {figures['machine']['cpu']}")
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.postprocess",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    figures = measure()
    path = arguments.out / "postprocess.json"
    path.write_text(json.dumps(figures, indent=2) + "\n")
    plot(figures, path.with_suffix(".png"))
    patch = figures["patch"]
    print(
        f"256² patch of {patch['nuclei']} nuclei: {patch['watershed_ms']} ms, the authors' steps "
        f"{patch['authors_steps_ms']} ms, ratio {figures['ratio_vs_reference']}; all in {path}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
