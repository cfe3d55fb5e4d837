"""Time a network in a runtime, in turns with others."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Turn = Callable[[float], float]
"""Function that computes tiles for some seconds, at least one; returns seconds per tile."""


def onnx_runtime(model: Path, tile: np.ndarray) -> Turn:
    """Use ONNX Runtime in float32, with all cores on one tile at a time."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return _turn(lambda: session.run(None, {"image": tile}), tiles=1)


def openvino(model: Path, tile: np.ndarray) -> Turn:
    """Use OpenVINO as the server does: the processor's fastest precision, a tile per stream."""
    import openvino as ov

    network = ov.Core().read_model(model)
    network.reshape({"image": list(tile.shape)})
    settings = {"PERFORMANCE_HINT": "THROUGHPUT"}
    queue = ov.AsyncInferQueue(ov.compile_model(network, "CPU", settings))

    def compute() -> None:
        for _ in range(len(queue)):
            queue.start_async({"image": tile})
        queue.wait_all()

    return _turn(compute, tiles=len(queue))


RUNTIMES = {"onnx_runtime": onnx_runtime, "openvino": openvino}


def _turn(compute: Callable[[], object], *, tiles: int) -> Turn:
    compute()

    def turn(seconds: float) -> float:
        done, started = 0, time.perf_counter()
        while not done or time.perf_counter() - started < seconds:
            compute()
            done += tiles
        return (time.perf_counter() - started) / done

    return turn
