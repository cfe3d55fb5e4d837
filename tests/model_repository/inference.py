"""Requests to a running server and what they get."""

from __future__ import annotations

import queue

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

ENSEMBLE = "nuclei_segmentation"
NUCLEI = ["instance_map", "nuclei", "nuclei_count", "contours"]
TIMEOUT = 120.0  # seconds; only a hang takes this long


def tensors(arrays: dict[str, np.ndarray]) -> list[triton.InferInput]:
    inputs = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        inputs.append(tensor.set_data_from_numpy(array))
    return inputs


def infer(
    client: triton.InferenceServerClient,
    model: str,
    arrays: dict[str, np.ndarray],
    outputs: list[str],
    parameters: dict[str, object] | None = None,
) -> dict[str, np.ndarray]:
    requested = [triton.InferRequestedOutput(name) for name in outputs]
    result = client.infer(
        model, tensors(arrays), outputs=requested, parameters=parameters, client_timeout=TIMEOUT
    )
    return {name: result.as_numpy(name) for name in outputs}


def refusal(client: triton.InferenceServerClient, *request: object) -> tuple[str, str]:
    """Status and message of a request that must fail."""
    with pytest.raises(InferenceServerException) as caught:
        infer(client, *request)
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def send_all(
    client: triton.InferenceServerClient,
    model: str,
    requests: list[tuple[dict[str, np.ndarray], dict[str, object] | None]],
    outputs: list[str],
    timeout: int | None = None,
) -> list[np.ndarray | InferenceServerException]:
    """Send all requests at once; return the first output, or the error, of each, in order."""
    answers: queue.Queue = queue.Queue()
    for i, (arrays, parameters) in enumerate(requests):
        client.async_infer(
            model,
            tensors(arrays),
            callback=lambda result, error, i=i: answers.put(
                (i, error or result.as_numpy(outputs[0]))
            ),
            outputs=[triton.InferRequestedOutput(name) for name in outputs],
            parameters=parameters,
            timeout=timeout,
            client_timeout=TIMEOUT,
        )
    collected = dict(answers.get(timeout=TIMEOUT) for _ in requests)
    return [collected[i] for i in range(len(requests))]
