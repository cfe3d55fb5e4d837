"""From probabilities to nuclei: serves the package ``instances`` in Triton.

Tensors, request parameters and responses to bad input are described in the README.md of the model
repository.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path

import host
import instances
import numpy as np
import triton_python_backend_utils as pb_utils

_INPUTS = ("class_probs", "boundary_prob")
_CLASS_COLUMN = instances.COLUMNS.index("class")
_SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1]


class TritonPythonModel:
    """One instance of the model; Triton calls its methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the release and compile the kernels, so that the first request is not slow."""
        host.refuse_corrupting_numpy()
        self._release = Release.read(
            Path(args["model_repository"]) / args["model_version"] / "release.json"
        )
        instances.warm_up()
        self._pool = ThreadPoolExecutor(host.cores())
        self._metrics = Metrics(self._release)

    def execute(self, requests: list) -> list:
        """Spread the patches of all requests over the cores; return one response each, in order.

        A request that fails gets an error of its own and does not affect the others.
        """
        jobs = [self._begin(request) for request in requests]
        responses = [
            job if isinstance(job, pb_utils.InferenceResponse) else _finish(job) for job in jobs
        ]
        self._metrics.record([job for job in jobs if isinstance(job, Job)])
        return responses

    def is_ready(self) -> bool:
        """Whether the kernels run; Triton 2.67 and newer call this for the model's readiness."""
        instances.warm_up()
        return True

    def finalize(self) -> None:
        """Stop the threads and withdraw the metrics."""
        self._pool.shutdown()
        del self._metrics

    def _begin(self, request: pb_utils.InferenceRequest) -> Job | pb_utils.InferenceResponse:
        try:
            parameters = _parameters(request, self._release.parameters)
            inputs = {
                name: pb_utils.get_input_tensor_by_name(request, name).as_numpy()
                for name in _INPUTS
            }
            outputs = request.requested_output_names()
            patches = []
            if not outputs <= {*_INPUTS, "release"}:  # outputs that need no nuclei
                with_contours = not outputs.isdisjoint({"contours", "nuclei"})
                patches = [
                    self._pool.submit(_extract, *maps, parameters, with_contours)
                    for maps in zip(*inputs.values(), strict=True)
                ]
        except Exception as error:
            return _failure(error, request.request_id())
        return Job(request.request_id(), outputs, inputs, patches, self._release.name)


@dataclass(frozen=True)
class Job:
    """A request in progress.

    Each future in `patches` returns the `instances.Instances` of a patch and the seconds it took.
    """

    request_id: str
    outputs: set[str]
    inputs: dict[str, np.ndarray]
    patches: list[Future]
    release: str


@dataclass(frozen=True)
class Release:
    """The release served here: its name, its class names and the default parameters."""

    name: str
    classes: tuple[str, ...]
    parameters: instances.Parameters

    @classmethod
    def read(cls, path: Path) -> Release:
        """Read ``release.json``."""
        try:
            record = json.loads(path.read_text())
            classes = tuple(str(kind["name"]) for kind in record["classes"])
            parameters = instances.Parameters(**record["parameters"])
            return cls(str(record["release"]), classes, parameters)
        except FileNotFoundError:
            problem = "missing"
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"broken ({error})"
        raise pb_utils.TritonModelException(f"{path.name} is {problem}: run `make convert`.")


class Metrics:
    """Metrics of this model at Triton's endpoint; Triton removes them with the object."""

    def __init__(self, release: Release) -> None:
        self._families = (
            pb_utils.MetricFamily(
                name="tsfd_nuclei_total",
                description="Nuclei found, by class",
                kind=pb_utils.MetricFamily.COUNTER,
            ),
            pb_utils.MetricFamily(
                name="tsfd_postprocess_seconds",
                description="Time of one thread from the probabilities of a patch to its nuclei",
                kind=pb_utils.MetricFamily.HISTOGRAM,
            ),
        )
        nuclei, seconds = self._families
        served = {"release": release.name}
        self._nuclei = [nuclei.Metric(labels={"class": name} | served) for name in release.classes]
        self._seconds = seconds.Metric(labels=served, buckets=_SECONDS)

    def record(self, jobs: list[Job]) -> None:
        """Add the patches of answered requests, except those that failed."""
        patches = [patch.result() for job in jobs for patch in job.patches if not patch.exception()]
        classes = [found.nuclei[:, _CLASS_COLUMN].astype(np.int64) for found, _ in patches]
        if not classes:
            return
        counts = np.bincount(np.concatenate(classes), minlength=1 + len(self._nuclei))[1:]
        for metric, count in zip(self._nuclei, counts, strict=True):
            if count:
                metric.increment(int(count))
        for _, seconds in patches:
            self._seconds.observe(seconds)


def _extract(
    class_probs: np.ndarray,
    boundary_prob: np.ndarray,
    parameters: instances.Parameters,
    with_contours: bool,
) -> tuple[instances.Instances, float]:
    started = time.perf_counter()
    found = instances.extract(class_probs, boundary_prob, parameters, with_contours=with_contours)
    return found, time.perf_counter() - started


def _parameters(
    request: pb_utils.InferenceRequest, defaults: instances.Parameters
) -> instances.Parameters:
    """Read the request's parameters; numbers may also be given as text (HTTP, older clients)."""
    types = {field.name: type(field.default) for field in fields(instances.Parameters)}
    values = json.loads(request.parameters() or "{}")
    for name, value in values.items():
        if name not in types:
            raise ValueError(f"Unknown request parameter {name!r}; known are {', '.join(types)}.")
        if isinstance(value, str):
            try:
                values[name] = types[name](value)
            except ValueError as error:
                raise ValueError(f"{name} must be a number, not {value!r}.") from error
    return replace(defaults, **values)


def _finish(job: Job) -> pb_utils.InferenceResponse:
    try:
        patches = [patch.result()[0] for patch in job.patches]
        batch = len(job.inputs["class_probs"])
        makers = {
            **{name: lambda name=name: job.inputs[name] for name in _INPUTS},
            "instance_map": lambda: np.stack([patch.instance_map for patch in patches]),
            "nuclei": lambda: _padded([patch.nuclei for patch in patches]),
            "nuclei_count": lambda: np.array([[len(patch.nuclei)] for patch in patches], np.int32),
            "contours": lambda: _padded([patch.contours for patch in patches]),
            "release": lambda: np.full((batch, 1), job.release.encode(), np.object_),
        }
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, makers[name]()) for name in job.outputs]
        )
    except Exception as error:
        return _failure(error, job.request_id)


def _padded(tables: list[np.ndarray]) -> np.ndarray:
    """Stack tables of different lengths, padding shorter ones with rows of zeros."""
    length = max(len(table) for table in tables)
    stacked = np.zeros((len(tables), length, tables[0].shape[1]), tables[0].dtype)
    for row, table in zip(stacked, tables, strict=True):
        row[: len(table)] = table
    return stacked


def _failure(error: Exception, request_id: str) -> pb_utils.InferenceResponse:
    """Make the error response: what is wrong with the request, or that the server failed."""
    if isinstance(error, ValueError):
        answer = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
    else:
        pb_utils.Logger.log_error(f"nuclei_postprocess: request {request_id}: {error!r}")
        answer = pb_utils.TritonError(
            "The post-processing failed; the reason is in the server's log."
        )
    return pb_utils.InferenceResponse(error=answer)
