"""Throughput of the bare CPU runtime, with which serving is compared."""

from __future__ import annotations

import time
from pathlib import Path

from conversion.runtimes import served_on_cpus
from samples.patches import patches

_WAYS = (("LATENCY", 4), ("THROUGHPUT", 4), ("THROUGHPUT", 1))


def best_rate(model: Path, seconds: float = 4.0) -> float:
    """Measure OpenVINO's patches per second on `model`, in this process, on all cores.

    The best of three ways: all cores on one batch, a batch per stream, a patch per stream; each is
    timed for `seconds`. Uses fixed batch sizes and the server's precision.
    """
    return max(rate(model, *way, seconds=seconds) for way in _WAYS)


def best_way(model: Path, seconds: float = 2.0) -> tuple[str, int]:
    """Find the hint and the batch size with the best rate, for `rate`."""
    return max(_WAYS, key=lambda way: rate(model, *way, seconds=seconds))


def rate(
    model: Path, hint: str, batch: int, *, seconds: float, precision: str | None = None
) -> float:
    """Measure OpenVINO's patches per second in one of these ways.

    Parameters
    ----------
    model
        ONNX file.
    hint
        ``"LATENCY"``, all cores on one batch, or ``"THROUGHPUT"``, a batch per stream.
    batch
        Patches per batch; -1 stands for batches of 4 in a network with a dynamic batch size.
    precision
        ``"f32"``, or None for the processor's fastest.
    """
    import openvino

    tiles = patches()
    network = served_on_cpus(model)
    network.reshape({"image": [batch, *tiles.shape[1:]]})
    batch = 4 if batch == -1 else batch
    settings = {"PERFORMANCE_HINT": hint}
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision
    queue = openvino.AsyncInferQueue(openvino.compile_model(network, "CPU", settings))
    for _ in range(len(queue)):
        queue.start_async({"image": tiles[:batch]})
    queue.wait_all()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        first = done % len(tiles)
        queue.start_async({"image": tiles[first : first + batch]})
        done += batch
    queue.wait_all()
    return done / (time.perf_counter() - started)
