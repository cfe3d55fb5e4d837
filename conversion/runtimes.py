"""Run a form of the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conversion.model_io import INPUT, OUTPUTS, THINNING

if TYPE_CHECKING:
    from openvino import Model

Outputs = dict[str, np.ndarray]
Runner = Callable[[np.ndarray], Outputs]
"""Function from uint8 [N, 256, 256, 3] to the contract's outputs."""


def infer(run: Runner, images: np.ndarray, *, at_a_time: int = 2) -> Outputs:
    """Run a form of the network on `images`, a few at a time to save memory.

    Returns
    -------
    dict
        `conversion.model_io.COMPARED`.
    """
    parts = [_thinned(run(images[i : i + at_a_time])) for i in range(0, len(images), at_a_time)]
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
