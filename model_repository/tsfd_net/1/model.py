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


class TritonPythonModel:
    """One instance of the model; Triton calls its methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile ``model.onnx`` of this version for all cores that the process may use."""
        _refuse_corrupting_numpy()
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        if not path.is_file():
            raise pb_utils.TritonModelException("model.onnx is missing: run `make convert`.")
        self._network = (
            openvino.Core()
            .compile_model(
                path,
                "CPU",
                {
                    "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0)),
                    # Some processors would silently compute in bfloat16.
                    "INFERENCE_PRECISION_HINT": "f32",
                },
            )
            .create_infer_request()
        )

    def execute(self, requests: list) -> list:
        """Run the requests as one batch; return one response each, in order."""
        images = [pb_utils.get_input_tensor_by_name(r, "image").as_numpy() for r in requests]
        batch = images[0] if len(images) == 1 else np.concatenate(images)
        try:
            results = self._network.infer({"image": batch}, share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            pb_utils.Logger.log_error(f"tsfd_net failed on a batch of {len(batch)}: {error}")
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


def _refuse_corrupting_numpy() -> None:
    """Raise where Triton's backend is too old for this numpy: it would corrupt tensors silently."""
    probe = np.arange(6, dtype=np.int32).reshape(2, 3)
    if not np.array_equal(pb_utils.Tensor("probe", probe).as_numpy(), probe):
        raise pb_utils.TritonModelException(
            f"this Triton's Python backend corrupts tensors under numpy {np.__version__}: install "
            "numpy 1.26 into its environment, or use a newer Triton."
        )
