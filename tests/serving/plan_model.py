"""TensorRT's backend without TensorRT: a model.py that serves ``model.plan``, OpenVINO's export."""

from __future__ import annotations

from pathlib import Path

import openvino
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        plan = Path(args["model_repository"], args["model_version"], "model.plan")
        self._network = openvino.Core().import_model(plan.read_bytes(), "CPU")

    def execute(self, requests: list) -> list:
        responses = []
        for request in requests:
            images = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
            results = self._network({"image": images})
            tensors = [
                pb_utils.Tensor(name, results[self._network.output(name)])
                for name in request.requested_output_names()
            ]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
