"""TSFD-Net on a machine with no GPU: Triton's glue around OpenVINO and ``model.onnx``.

Used by ``configs/cpu.pbtxt`` only; the production profile serves ``model.plan`` without Python.
Tensors and their meaning: README.md of the model repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import openvino
import triton_python_backend_utils as pb_utils

_LEAST_CHUNK = 4  # with fewer patches at a time two cores already idle


class TritonPythonModel:
    """One instance of the model; Triton calls its methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile ``model.onnx`` of this version for all cores that the process may use.

        OpenVINO prepares itself anew for every batch size it meets, for a second or more. So
        batches are cut into chunks whose sizes are powers of two, and all of these run once here.
        """
        _refuse_corrupting_numpy()
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        if not path.is_file():
            raise pb_utils.TritonModelException("model.onnx is missing: run `make convert`.")
        cores = len(os.sched_getaffinity(0))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": cores,
            # Some processors would silently compute in bfloat16.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            network = openvino.Core().compile_model(path, "CPU", settings)
        except RuntimeError as error:
            pb_utils.Logger.log_error(f"tsfd_net: {error}")
            raise pb_utils.TritonModelException(
                "OpenVINO cannot read model.onnx: run `make convert` again."
            ) from None
        self._network = network.create_infer_request()
        largest = max(_LEAST_CHUNK, min(cores, 32))
        self._chunks = [size for size in (32, 16, 8, 4, 2, 1) if size <= largest]
        for size in self._chunks:
            self._infer(np.zeros((size, 256, 256, 3), np.uint8))

    def execute(self, requests: list) -> list:
        """Run the requests as one batch; return one response each, in order."""
        images = [pb_utils.get_input_tensor_by_name(r, "image").as_numpy() for r in requests]
        try:
            results = self._infer(images[0] if len(images) == 1 else np.concatenate(images))
        except RuntimeError as error:
            pb_utils.Logger.log_error(f"tsfd_net: OpenVINO failed: {error}")
            failure = pb_utils.TritonError("The network failed; the reason is in the server's log.")
            return [pb_utils.InferenceResponse(error=failure) for _ in requests]

        responses = []
        start = 0
        for request, image in zip(requests, images, strict=True):
            stop = start + len(image)
            outputs = [
                pb_utils.Tensor(name, results[name][start:stop])
                for name in request.requested_output_names()
            ]
            responses.append(pb_utils.InferenceResponse(outputs))
            start = stop
        return responses

    def _infer(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs by name for uint8 images [n, 256, 256, 3]."""
        pieces = []
        start = 0
        while start < len(images):
            size = next(size for size in self._chunks if size <= len(images) - start)
            self._network.infer({"image": images[start : start + size]}, share_inputs=True)
            pieces.append([tensor.data.copy() for tensor in self._network.output_tensors])
            start += size
        names = [output.any_name for output in self._network.model_outputs]
        return {
            name: np.concatenate(parts)
            for name, parts in zip(names, zip(*pieces, strict=True), strict=True)
        }


def _refuse_corrupting_numpy() -> None:
    """Raise where Triton's backend is too old for this numpy: it would corrupt tensors silently."""
    probe = np.arange(6, dtype=np.int32).reshape(2, 3)
    capsule = pb_utils.Tensor("probe", probe).to_dlpack()
    # Only an array that the backend itself makes shows it: its strides come out as zero.
    if not np.array_equal(pb_utils.Tensor.from_dlpack("probe", capsule).as_numpy(), probe):
        raise pb_utils.TritonModelException(
            f"this Triton's Python backend corrupts tensors under numpy {np.__version__}: install "
            "numpy 1.26 into its environment, or use a newer Triton."
        )
