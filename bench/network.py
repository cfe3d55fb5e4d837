"""Time the network on this machine's CPU: ``python -m bench.network``, part of `make bench`.

Measures OpenVINO in float32, in the processor's fastest precision and in INT8, in batches and patch
by patch, and ONNX Runtime for comparison. INT8 is calibrated with synthetic patches, which does not
affect its speed. Writes ``network.json`` and ``network.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
import onnxruntime

from bench.machine import machine
from conversion.int8 import to_int8
from conversion.openvino_throughput import rate
from samples.patches import patches
from serving.environment import ROOT
from serving.server import ARTEFACT


@dataclass(frozen=True)
class Rate:
    """Throughput of one way to run the network on all cores.

    Attributes
    ----------
    way
        Runtime, precision and batch.
    patches_per_second
        In a closed loop. Its inverse is not a latency if each patch has a stream of its own.
    """

    way: str
    patches_per_second: float


def measure(model: Path, *, seconds: float = 6.0) -> list[Rate]:
    """Time every way for some seconds; float32 only once if it is the fastest precision."""
    fastest = _fastest_precision()
    rates = [
        Rate(f"ONNX Runtime f32, batch of {batch}", _onnx_runtime(model, batch, seconds))
        for batch in (1, 4)
    ]
    with tempfile.TemporaryDirectory() as folder:
        int8 = Path(folder) / "int8.onnx"
        onnx.save(to_int8(onnx.load(model), patches()[:4]), int8)
        beside = (
            ("f32, batch of 4", model, "LATENCY", 4, "f32"),
            ("f32, a patch per stream", model, "THROUGHPUT", 1, "f32"),
            ("INT8 and f32, a patch per stream", int8, "THROUGHPUT", 1, "f32"),
        )
        for way, file, hint, batch, precision in (
            ("f32, open batch of 4", model, "LATENCY", -1, "f32"),
            *(beside if fastest != "f32" else ()),
            (f"{fastest}, one patch at a time", model, "LATENCY", 1, None),
            (f"{fastest}, batch of 4", model, "LATENCY", 4, None),
            (f"{fastest}, a patch per stream (served)", model, "THROUGHPUT", 1, None),
            (f"INT8 and {fastest}, a patch per stream", int8, "THROUGHPUT", 1, None),
        ):
            found = rate(file, hint, batch, seconds=seconds, precision=precision)
            rates.append(Rate(f"OpenVINO {way}", round(found, 2)))
    return rates


def _fastest_precision() -> str:
    import openvino

    return openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name()


def _onnx_runtime(model: Path, batch: int, seconds: float) -> float:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    tiles = patches()
    session.run(None, {"image": tiles[:batch]})
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        first = done % len(tiles)
        session.run(None, {"image": tiles[first : first + batch]})
        done += batch
    return round(done / (time.perf_counter() - started), 2)


def plot(figures: dict[str, object], path: Path) -> None:
    """Plot patches per second as bars."""
    from matplotlib.figure import Figure

    rows = figures["rates"][::-1]
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([row["way"] for row in rows], [row["patches_per_second"] for row in rows])
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.margins(x=0.12)
    axes.set(xlabel="patches per second")
    figure.suptitle(f"{figures['machine']['cpu']}, {figures['machine']['cores']} cores")
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.network",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=ROOT / "model_repository" / ARTEFACT)
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    arguments = parser.parse_args(argv)
    if not arguments.model.is_file():
        print(f"bench: {arguments.model} is missing: run `make convert`.", file=sys.stderr)
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    rates = measure(arguments.model)
    figures = {"machine": machine(), "rates": [asdict(found) for found in rates]}
    path = arguments.out / "network.json"
    path.write_text(json.dumps(figures, indent=2) + "\n")
    plot(figures, path.with_suffix(".png"))
    for found in rates:
        print(f"{found.way:<45} {found.patches_per_second:>7.1f} patches/s")
    print(f"All figures: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
