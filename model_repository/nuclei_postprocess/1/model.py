"""Nuclei from probabilities: Triton's glue around ``instances.py``.

Tensors, request parameters and reactions to bad input: README.md of the model repository.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).resolve().parent))
import instances

_INPUTS = ("class_probs", "boundary_prob")


class TritonPythonModel:
    """One instance of the model; Triton calls its methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the kernels, so that the first request is not slow."""
        _refuse_corrupting_numpy()
        instances.warm_up()
        self._pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def execute(self, requests: list) -> list:
        """Spread the patches of all requests over the cores; return one response each, in order.

        A bad request gets an error of its own and leaves the others alone.
        """
        jobs = [self._begin(request) for request in requests]
        return [
            job if isinstance(job, pb_utils.InferenceResponse) else _finish(job) for job in jobs
        ]

    def finalize(self) -> None:
        """Stop the threads."""
        self._pool.shutdown()

    def _begin(self, request: pb_utils.InferenceRequest) -> Job | pb_utils.InferenceResponse:
        try:
            parameters = _parameters(request)
        except ValueError as error:
            return _refusal(error)
        inputs = {
            name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in _INPUTS
        }
        outputs = request.requested_output_names()
        patches = []
        if not outputs <= inputs.keys():
            with_contours = not outputs.isdisjoint({"contours", "nuclei"})
            patches = [
                self._pool.submit(instances.extract, *maps, parameters, with_contours=with_contours)
                for maps in zip(*inputs.values(), strict=True)
            ]
        return Job(outputs, inputs, patches)


@dataclass(frozen=True)
class Job:
    """One request under way: names of its outputs, its inputs and its patches."""

    outputs: set[str]
    inputs: dict[str, np.ndarray]
    patches: list[Future]


def _parameters(request: pb_utils.InferenceRequest) -> instances.Parameters:
    """Read the request's parameters; numbers may also come as text (HTTP, older clients)."""
    types = {field.name: type(field.default) for field in fields(instances.Parameters)}
    values = json.loads(request.parameters() or "{}")
    for name, value in values.items():
        if name not in types:
            raise ValueError(f"Unknown request parameter {name!r}: known are {', '.join(types)}.")
        if isinstance(value, str) and types[name] is not str:
            try:
                values[name] = types[name](value)
            except ValueError as error:
                raise ValueError(f"{name} must be a number, not {value!r}.") from error
    return instances.Parameters(**values)


def _finish(job: Job) -> pb_utils.InferenceResponse:
    try:
        patches = [patch.result() for patch in job.patches]
    except ValueError as error:
        return _refusal(error)
    makers = {
        **{name: lambda name=name: job.inputs[name] for name in _INPUTS},
        "instance_map": lambda: np.stack([patch.instance_map for patch in patches]),
        "nuclei": lambda: _padded([patch.nuclei for patch in patches]),
        "nuclei_count": lambda: np.array([[len(patch.nuclei)] for patch in patches], np.int32),
        "contours": lambda: _padded([patch.contours for patch in patches]),
    }
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, makers[name]()) for name in job.outputs]
    )


def _padded(tables: list[np.ndarray]) -> np.ndarray:
    """Stack tables of different length; the shorter ones end in rows of zeros."""
    length = max(len(table) for table in tables)
    stacked = np.zeros((len(tables), length, tables[0].shape[1]), tables[0].dtype)
    for row, table in zip(stacked, tables, strict=True):
        row[: len(table)] = table
    return stacked


def _refusal(error: ValueError) -> pb_utils.InferenceResponse:
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
    )


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
