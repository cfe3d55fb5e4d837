"""Run a form of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conversion.model_io import BATCH_BEST, BATCH_MAX, BATCH_MIN, INPUT, OUTPUTS, THINNING

if TYPE_CHECKING:
    from openvino import Model

Outputs = dict[str, np.ndarray]
Runner = Callable[[np.ndarray], Outputs]
"""Function from uint8 [N, 256, 256, 3] to the contract's outputs."""

ENGINE_BATCHES = (BATCH_MIN, 3, BATCH_BEST, BATCH_MAX)
"""Batches in which an engine must answer rightly, as it may compute each in another way."""


def infer(run: Runner, images: np.ndarray, *, batches: Sequence[int] = (2,)) -> Outputs:
    """Run a form of the network on `images`, in batches of these sizes in turn.

    Returns
    -------
    dict
        `conversion.model_io.COMPARED`.
    """
    parts, first = [], 0
    for size in cycle(batches):
        parts.append(_thinned(run(images[first : first + size])))
        first += size
        if first >= len(images):
            break
    return {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}


def _thinned(outputs: Outputs) -> Outputs:
    return outputs | {"features": outputs["features"][:, ::THINNING, ::THINNING]}


def saved_model(folder: Path) -> Runner:
    """Run a SavedModel with TensorFlow."""
    import tensorflow as tf  # takes seconds; the other runtimes do not need it

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]

    def run(images: np.ndarray, _keep: object = loaded) -> Outputs:
        return {k: v.numpy() for k, v in signature(**{INPUT: tf.constant(images)}).items()}

    return run


def onnx_runtime(model: Path) -> Runner:
    """Run an ONNX file with ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = list(OUTPUTS)
    return lambda images: dict(zip(names, session.run(names, {INPUT: images}), strict=True))


def openvino(model: Path) -> Runner:
    """Run an ONNX file with OpenVINO in the server's precision, the processor's fastest."""
    import openvino as ov

    compiled = ov.compile_model(model, "CPU")

    def run(images: np.ndarray) -> Outputs:
        results = compiled({INPUT: images})
        return {name: np.array(results[compiled.output(name)]) for name in OUTPUTS}

    return run


def served_on_cpus(model: Path) -> Model:
    """Read an ONNX file as OpenVINO's graph for segmentation, without the features.

    In 16 bits an output more or less changes the others' roundings, since it changes which steps
    OpenVINO fuses.
    """
    import openvino as ov

    network = ov.Core().read_model(model)
    kept = [port for port in network.outputs if port.any_name != "features"]
    return ov.Model(kept, network.get_parameters())
