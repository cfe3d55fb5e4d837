"""TSFD-Net on a machine without a GPU: serves ``model.onnx`` with OpenVINO in Triton.

Used only by ``configs/cpu.pbtxt``; the production profile serves ``model.plan`` without Python. The
tensors are described in the README.md of the model repository.

OpenVINO divides the cores into streams, each of which computes one patch at a time. This is faster
than using all cores for one batch, and streams need not wait for each other: `execute` returns
while the last patches are still being computed, so that the next requests follow without a gap.
OpenVINO computes in bfloat16 on processors where that is faster. The output ``features`` costs time
and is rarely asked for: a second network, compiled at the first request for it, computes it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from queue import Queue
from threading import Lock, Thread
from typing import NoReturn

import host
import numpy as np
import openvino
import triton_python_backend_utils as pb_utils

_PATCH = (1, 256, 256, 3)
_FEATURES = "features"
_SERVER = os.getppid()


class TritonPythonModel:
    """One instance of the model; Triton calls its methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile this version's ``model.onnx`` for all cores that the process may use."""
        host.refuse_corrupting_numpy()
        self._path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        if not self._path.is_file():
            raise pb_utils.TritonModelException("model.onnx is missing: run `make convert`.")
        try:
            streams = _compile(self._path)
        except RuntimeError as error:
            _log_error(error)
            raise pb_utils.TritonModelException(
                "OpenVINO cannot read model.onnx: run `make convert` again."
            ) from None
        # At most one patch per stream waits here; then `execute` blocks and Triton's queue fills.
        self._patches: Queue[tuple[Job, int] | None] = Queue(maxsize=len(streams))
        self._with_features: list[openvino.InferRequest] = []
        self._compiling = Lock()
        self._threads = [
            Thread(target=self._work, args=(number, stream))
            for number, stream in enumerate(streams)
        ]
        for thread in self._threads:
            thread.start()

    def execute(self, requests: list) -> None:
        """Hand the patches to the streams; a request is answered when its last patch is done."""
        for request in requests:
            job = Job(request)
            for i in range(len(job.images)):
                self._patches.put((job, i))

    def finalize(self) -> None:
        """Finish pending patches and stop the threads."""
        for _ in self._threads:
            self._patches.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, number: int, stream: openvino.InferRequest) -> None:
        while (patch := self._patches.get()) is not None:
            job, i = patch
            try:
                job.compute(i, self._featured(number) if job.wants_features else stream)
            except Exception as error:
                _end_server(error)

    def _featured(self, number: int) -> openvino.InferRequest:
        with self._compiling:
            if not self._with_features:
                self._with_features = _compile(self._path, features=True)
        return self._with_features[number]


class Job:
    """A request in progress."""

    def __init__(self, request: pb_utils.InferenceRequest) -> None:
        self._request = request  # keeps the memory of the images alive
        self._sender = request.get_response_sender()
        self.images = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        self.wants_features = _FEATURES in request.requested_output_names()
        self._outputs: dict[str, np.ndarray] = {}
        self._failed = False
        self._left = len(self.images)
        self._lock = Lock()

    def compute(self, i: int, stream: openvino.InferRequest) -> None:
        """Compute patch ``i``; send the answer if it was the last one.

        Raises
        ------
        triton_python_backend_utils.TritonModelException
            If the answer cannot be sent, for example because shared memory is full.
        """
        try:
            stream.infer({"image": self.images[i : i + 1]}, share_inputs=True)
            self._store(i, stream)
        except Exception as error:  # any error is reported in the answer to the request
            self._failed = True
            _log_error(f"patch {i} failed: {error}")
        with self._lock:
            self._left -= 1
            if self._left:
                return
        self._answer()

    def _store(self, i: int, stream: openvino.InferRequest) -> None:
        for name in self._request.requested_output_names():
            found = stream.get_tensor(name).data
            with self._lock:
                if name not in self._outputs:
                    shape = (len(self.images), *found.shape[1:])
                    self._outputs[name] = np.empty(shape, found.dtype)
            self._outputs[name][i] = found[0]

    def _answer(self) -> None:
        if self._failed:
            failure = pb_utils.TritonError("The network failed; the reason is in the server's log.")
            response = pb_utils.InferenceResponse(error=failure)
        else:
            tensors = [pb_utils.Tensor(name, array) for name, array in self._outputs.items()]
            response = pb_utils.InferenceResponse(tensors)
        self._sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _compile(path: Path, *, features: bool = False) -> list[openvino.InferRequest]:
    """Compile the network; return one warmed-up inference request per stream."""
    core = openvino.Core()
    network = core.read_model(path)
    if not features:
        kept = [port for port in network.outputs if port.any_name != _FEATURES]
        network = openvino.Model(kept, network.get_parameters())
    network.reshape({"image": list(_PATCH)})  # a static shape takes half the time of a dynamic one
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": host.cores()}
    compiled = core.compile_model(network, "CPU", settings)
    count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    streams = [compiled.create_infer_request() for _ in range(count)]
    for stream in streams:
        stream.infer({"image": np.zeros(_PATCH, np.uint8)})
    return streams


def _end_server(error: Exception) -> NoReturn:
    """End Triton, the parent process, and this process.

    Otherwise Triton would wait for the missing answer for ever while appearing healthy.
    """
    _log_error(f"an answer could not be sent, so the server ends: {error}")
    for stop in (signal.SIGTERM, signal.SIGKILL):  # a container's process 1 ignores the latter
        if os.getppid() == _SERVER:  # otherwise Triton is gone and this process was reparented
            os.kill(_SERVER, stop)
    os._exit(1)


def _log_error(error: object) -> None:
    """Write to the server's log; Triton's logger needs shared memory, which may be full."""
    print(f"error: tsfd_net: {error}", file=sys.stderr, flush=True)
