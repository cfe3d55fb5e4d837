"""Time batch sizes on a running Triton server: ``python -m bench.gpu --url host:8001``.

Meant for a GPU host (`make bench-gpu`), but works with any server of the model repository. Times
batches of 1 to 32 patches for the network alone and for the ensemble, for the latter with the share
of time taken by the post-processing. Writes ``gpu.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton

from bench.load import Answered, Stages, load, send_requests
from bench.machine import machine
from samples.patches import patches
from tsfd_client import Client, TsfdError
from tsfd_client.contract import MODEL, TILE

BATCHES = (1, 2, 4, 8, 16, 32)
_OUTPUTS = {
    "tsfd_net": ("class_probs", "boundary_prob", "tissue_probs"),
    MODEL: ("instance_map", "nuclei", "nuclei_count", "tissue_probs"),
}


def measure(
    url: str,
    *,
    batches: tuple[int, ...] = BATCHES,
    processes: int | None = None,
    concurrency: int = 4,
    seconds: float = 10.0,
) -> list[dict[str, object]]:
    """Measure throughput and latency; returns one row per model and batch size.

    Parameters
    ----------
    processes
        How many send requests, as one alone is slower than a GPU; None for a fourth of the cores.
    concurrency
        Requests that each of them has under way.
    """
    drawn, number, rows = patches(), processes or senders(), []
    with (
        triton.InferenceServerClient(url) as connection,
        ProcessPoolExecutor(number, get_context("spawn")) as pool,
    ):
        for model in _OUTPUTS:
            for batch in batches:
                tiles = np.resize(drawn, (batch, TILE, TILE, 3))
                _send(connection, model, tiles)
                stages = Stages(connection)
                sent = [
                    pool.submit(_keep_sending, url, model, tiles, concurrency, seconds)
                    for _ in range(number)
                ]
                answered = load([each.result() for each in sent], batch)
                times = stages.stop()
                row = {"model": model, "batch": batch, **asdict(answered)}
                row |= {"processes": number, "concurrency": concurrency}
                row["stages"] = {name: asdict(stage) for name, stage in times.items()}
                if model == MODEL:
                    compute = {name: stage.compute_ms for name, stage in times.items()}
                    share = compute["nuclei_postprocess"] / sum(compute.values())
                    row["postprocess_share"] = round(share, 4)
                rows.append(row)
    return rows


def senders() -> int:
    """Processes to send requests with: a fourth of this machine's cores."""
    return max(1, len(os.sched_getaffinity(0)) // 4)


def _keep_sending(
    url: str, model: str, tiles: np.ndarray, concurrency: int, seconds: float
) -> Answered:
    with triton.InferenceServerClient(url) as connection:
        return send_requests(
            lambda _: _send(connection, model, tiles), concurrency=concurrency, seconds=seconds
        )


def _send(connection: triton.InferenceServerClient, model: str, tiles: np.ndarray) -> None:
    image = triton.InferInput("image", tiles.shape, "UINT8").set_data_from_numpy(tiles)
    outputs = [triton.InferRequestedOutput(name) for name in _OUTPUTS[model]]
    connection.infer(model, [image], outputs=outputs)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", default="localhost:8001", help="default: %(default)s")
    parser.add_argument(
        "--processes",
        type=int,
        default=senders(),
        help="that send requests; default: a fourth of the cores (%(default)s)",
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        default=4,
        help="requests under way of each process; default: %(default)s",
    )
    parser.add_argument(
        "--seconds", type=float, default=10, help="duration of each row's measurement"
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    arguments = parser.parse_args(argv)
    try:
        with Client(arguments.url, retry_for=0) as client:
            client.check()
        rows = measure(
            arguments.url,
            processes=arguments.processes,
            concurrency=arguments.concurrency,
            seconds=arguments.seconds,
        )
    except (TsfdError, triton.InferenceServerException) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "gpu.json"
    figures = {"url": arguments.url, "client_machine": machine(), "rows": rows}
    path.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{'model':<20} {'batch':>5} {'patches/s':>10} {'median ms':>10} {'post-processing':>16}")
    for row in rows:
        share = f"{row['postprocess_share']:.2%}" if "postprocess_share" in row else ""
        print(
            f"{row['model']:<20} {row['batch']:>5} {row['patches_per_second']:>10} "
            f"{row['median_ms']:>10} {share:>16}"
        )
    print(f"All figures: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
