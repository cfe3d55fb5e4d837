"""Closed-loop load on a Triton server, and where its time goes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import tritonclient.grpc as triton

from tsfd_client.contract import MODEL


@dataclass(frozen=True)
class Load:
    """Throughput and latency of a closed loop.

    Attributes
    ----------
    patches
        Patches of all requests started within the time.
    patches_per_second
        Of each process, `patches` divided by the time until its last answer; their sum.
    median_ms, p95_ms
        Latency of a request.
    """

    patches: int
    patches_per_second: float
    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Stage:
    """Mean times of one model as Triton counts them.

    Attributes
    ----------
    queue_ms
        Time that a request waits.
    compute_ms
        A patch's share of its batch's time. The network's CPU profile starts a batch before the
        last one is done, and Triton counts only the time until the last patch starts.
    """

    queue_ms: float
    compute_ms: float


@dataclass(frozen=True)
class Answered:
    """The requests that one process had answered: their latencies, and the time they took."""

    latencies: list[float]
    seconds: float


def closed_loop(
    send: Callable[[int], None], *, concurrency: int, batch: int, seconds: float
) -> Load:
    """Call `send` from `concurrency` threads, over and over: `send_requests` in figures."""
    return load([send_requests(send, concurrency=concurrency, seconds=seconds)], batch)


def load(answered: Sequence[Answered], batch: int) -> Load:
    """Put together what processes that ran at the same time had answered."""
    latencies = np.concatenate([each.latencies for each in answered])
    median, p95 = np.percentile(latencies, (50, 95)) * 1000
    requests_per_second = sum(len(each.latencies) / each.seconds for each in answered)
    return Load(
        batch * len(latencies),
        round(batch * requests_per_second, 2),
        round(median, 2),
        round(p95, 2),
    )


def send_requests(send: Callable[[int], None], *, concurrency: int, seconds: float) -> Answered:
    """Call `send` from `concurrency` threads, over and over.

    Parameters
    ----------
    send
        Sends one request and waits for its answer; its argument is a running number.

    Raises
    ------
    Exception
        The first exception that `send` raised.
    """
    latencies: list[float] = []
    failures: list[Exception] = []
    started = time.perf_counter()

    def run(number: int) -> None:
        while not failures and (begun := time.perf_counter()) - started < seconds:
            try:
                send(number)
            except Exception as error:
                failures.append(error)
                return
            latencies.append(time.perf_counter() - begun)
            number += concurrency

    threads = [threading.Thread(target=run, args=(i,)) for i in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return Answered(latencies, time.perf_counter() - started)


class Stages:
    """Times of the models from now until `stop`, from Triton's statistics."""

    def __init__(self, connection: triton.InferenceServerClient) -> None:
        self._connection = connection
        self._before = self._read()

    def _read(self) -> dict[str, np.ndarray]:
        """By model: requests, their nanoseconds in the queue, patches, nanoseconds of batches."""
        found = {}
        for model in self._connection.get_inference_statistics().model_stats:
            requests = model.inference_stats
            batches = model.batch_stats
            compute = sum(
                part.ns
                for batch in batches
                for part in (batch.compute_input, batch.compute_infer, batch.compute_output)
            )
            patches = sum(batch.batch_size * batch.compute_infer.count for batch in batches)
            found[model.name] = np.array(
                [requests.success.count, requests.queue.ns, patches, compute]
            )
        return found

    def stop(self) -> dict[str, Stage]:
        """Times of each model that has run since the object was created, without the ensemble."""
        stages = {}
        for name, after in self._read().items():
            requests, queue, patches, compute = after - self._before[name]
            if name != MODEL and patches:
                queue_ms, compute_ms = queue / requests / 1e6, compute / patches / 1e6
                stages[name] = Stage(round(queue_ms, 4), round(compute_ms, 4))
        return stages


def cpu_seconds(server: int) -> dict[str, float]:
    """CPU time used so far by this process, the server and its models' processes."""
    processes = {"client": psutil.Process(os.getpid()), "tritonserver": psutil.Process(server)}
    for child in processes["tritonserver"].children(recursive=True):
        model = next((Path(a).parts[-3] for a in child.cmdline() if a.endswith("model.py")), None)
        if model:
            processes[model] = child
    return {name: sum(p.cpu_times()[:2]) for name, p in processes.items()}
