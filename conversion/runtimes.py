"""Running one form of the network on this machine's CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conversion.contract import INPUT, OUTPUTS

Outputs = dict[str, np.ndarray]
Runner = Callable[[np.ndarray], Outputs]
"""uint8 [N, 256, 256, 3] -> the contract's outputs."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds per tile of one runtime at one batch size: the fastest of the repetitions."""

    runtime: str
    batch: int
    ms_per_tile: float


def saved_model(folder: Path) -> Runner:
    """TensorFlow on a SavedModel."""
    import tensorflow as tf  # takes seconds; the other runtimes do without

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]

    def run(images: np.ndarray, _keep: object = loaded) -> Outputs:
        return {k: v.numpy() for k, v in signature(**{INPUT: tf.constant(images)}).items()}

    return run


def onnx_runtime(model: Path, threads: int = 0) -> Runner:
    """ONNX Runtime on an ONNX file; `threads` 0 is one per core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = list(OUTPUTS)
    return lambda images: dict(zip(names, session.run(names, {INPUT: images}), strict=True))


def openvino(model: Path, threads: int = 0) -> Runner:
    """OpenVINO on an ONNX file, in float32; `threads` 0 is one per core."""
    import openvino as ov

    compiled = ov.Core().compile_model(
        str(model),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
        },
    )

    def run(images: np.ndarray) -> Outputs:
        results = compiled({INPUT: images})
        return {name: np.array(results[compiled.output(name)]) for name in OUTPUTS}

    return run


def measure(
    model: Path, images: np.ndarray, *, batches: tuple[int, ...] = (1, 4, 8), repeats: int = 8
) -> list[Timing]:
    """Time ONNX Runtime and OpenVINO on one ONNX file with two threads each."""
    timings = []
    for name, load in (("ONNX Runtime", onnx_runtime), ("OpenVINO", openvino)):
        run = load(model, 2)
        for batch in batches:
            tiles = np.ascontiguousarray(np.resize(images, (batch, *images.shape[1:])))
            run(tiles)  # the first call of a shape plans its memory
            seconds = []
            for _ in range(repeats):
                start = time.perf_counter()
                run(tiles)
                seconds.append(time.perf_counter() - start)
            timings.append(Timing(name, batch, round(min(seconds) / batch * 1000, 1)))
    return timings
