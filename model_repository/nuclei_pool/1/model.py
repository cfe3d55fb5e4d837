"""Average the network's features over given nuclei; `pool` does the work.

Tensors and responses to bad input are described in the README.md of the model repository.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import host
import numpy as np
import pool
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance of the model; Triton calls its methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Start the threads."""
        host.refuse_corrupting_numpy()
        self._pool = ThreadPoolExecutor(host.cores())

    def execute(self, requests: list) -> list:
        """Spread the patches of all requests over the cores; return one response each, in order."""
        return [_answer(job) for job in [self._begin(request) for request in requests]]

    def finalize(self) -> None:
        """Stop the threads."""
        self._pool.shutdown()

    def _begin(self, request: pb_utils.InferenceRequest) -> list[Future]:
        features, maps = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("features", "instance_map")
        )
        return [self._pool.submit(pool.pool, *patch) for patch in zip(features, maps, strict=True)]


def _answer(patches: list[Future]) -> pb_utils.InferenceResponse:
    try:
        rows = [patch.result() for patch in patches]
        found = np.zeros((len(rows), max(map(len, rows)), rows[0].shape[1]), np.float16)
        for place, of_patch in zip(found, rows, strict=True):
            place[: len(of_patch)] = of_patch
        return pb_utils.InferenceResponse([pb_utils.Tensor("nuclei_features", found)])
    except ValueError as error:
        failure = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=failure)
