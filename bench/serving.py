"""Compare the served ensemble with the bare CPU runtime: ``python -m bench.serving``.

Part of `make bench`. Starts the server and keeps 1, 2, 4 and 8 requests of 4 patches in flight,
over gRPC and over shared memory, with the client on the same cores. Then, at the best number of
requests, it takes turns with OpenVINO alone in this process: as a machine's speed drifts, the ratio
is the median over the rounds. Writes ``serving.json`` (throughput, ratio, time per stage, CPU time
per process) and ``serving.png``.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median

import numpy as np
import tritonclient.grpc as triton

from bench.load import Load, Stages, closed_loop, cpu_seconds
from bench.machine import machine
from conversion.openvino_throughput import best_rate
from samples.patches import patches
from serving.environment import ROOT
from serving.server import ARTEFACT, ServerError, TritonServer
from tsfd_client import Client, TsfdError

_CONCURRENCY = (1, 2, 4, 8)
_BATCH = 4
_ROUNDS = 5


def measure(
    server: TritonServer, *, concurrency: tuple[int, ...] = _CONCURRENCY, seconds: float = 10.0
) -> list[dict[str, object]]:
    """Measure throughput; returns one row per transport and number of requests in flight."""
    tiles = patches()
    rows = []
    with triton.InferenceServerClient(server.grpc_url) as connection:
        for transport in ("grpc", "shm"):
            with Client(server.grpc_url, transport=transport) as client:
                client.segment_tiles(tiles[:_BATCH])
                for requests in concurrency:
                    before, stages = cpu_seconds(server.pid), Stages(connection)
                    load = _load(client, tiles, requests, seconds)
                    after = cpu_seconds(server.pid)
                    rows.append(
                        {
                            "transport": transport,
                            "concurrency": requests,
                            **asdict(load),
                            "stages": {name: asdict(s) for name, s in stages.stop().items()},
                            "cpu_ms_per_patch": {
                                name: round(1000 * (after[name] - before[name]) / load.patches, 2)
                                for name in after
                            },
                        }
                    )
    return rows


def compare(
    server: TritonServer,
    model: Path,
    concurrency: dict[str, int],
    *,
    rounds: int = _ROUNDS,
    seconds: float = 5.0,
) -> list[dict[str, float]]:
    """Measure patches per second of OpenVINO alone (``bare``) and of each transport, in turns.

    Parameters
    ----------
    concurrency
        Requests in flight by transport.
    """
    tiles = patches()
    found = []
    for _ in range(rounds):
        row = {"bare": round(best_rate(model, seconds / 2), 2)}
        for transport, requests in concurrency.items():
            with Client(server.grpc_url, transport=transport) as client:
                client.segment_tiles(tiles[:_BATCH])
                load = _load(client, tiles, requests, seconds)
            row[transport] = load.patches_per_second
        found.append(row)
    return found


def _load(client: Client, tiles: np.ndarray, requests: int, seconds: float) -> Load:
    def send(number: int) -> None:
        first = number * _BATCH % len(tiles)
        client.segment_tiles(tiles[first : first + _BATCH])

    return closed_loop(send, concurrency=requests, batch=_BATCH, seconds=seconds)


def plot(figures: dict[str, object], path: Path) -> None:
    """Plot throughput by concurrency beside the bare runtime's, and where the CPU time goes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes, stages = figure.subplots(1, 2)
    for transport, label in (("grpc", "gRPC"), ("shm", "shared memory")):
        rows = [row for row in figures["served"] if row["transport"] == transport]
        axes.plot(
            [r["concurrency"] for r in rows],
            [r["patches_per_second"] for r in rows],
            "o-",
            label=label,
        )
    axes.axhline(figures["bare_patches_per_second"], color="grey", ls="--", label="bare OpenVINO")
    axes.set(xlabel=f"requests of {_BATCH} patches in flight", ylabel="patches per second")
    axes.set_ylim(0, None)
    axes.legend()
    best = max(figures["served"], key=_rate)
    spent = best["cpu_ms_per_patch"]
    bars = stages.barh(list(spent), list(spent.values()))
    stages.bar_label(bars, fmt="%.1f", padding=3)
    stages.margins(x=0.12)
    stages.set(xlabel="CPU milliseconds per patch")
    figure.suptitle(f"{figures['machine']['cpu']}, {figures['machine']['cores']} cores")
    figure.savefig(path, dpi=110)


def _rate(row: dict[str, object]) -> float:
    return row["patches_per_second"]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds", type=float, default=10, help="duration of each row's measurement"
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    arguments = parser.parse_args(argv)
    model = ROOT / "model_repository" / ARTEFACT
    if not model.is_file():
        print(f"bench: {model} is missing: run `make convert`.", file=sys.stderr)
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        with TritonServer() as server:
            rows = measure(server, seconds=arguments.seconds)
            best = {row["transport"]: row for row in sorted(rows, key=_rate)}
            rounds = compare(
                server, model, {name: row["concurrency"] for name, row in best.items()}
            )
    except (ServerError, TsfdError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    ratios = {name: median(turn[name] / turn["bare"] for turn in rounds) for name in best}
    figures = {
        "machine": machine(),
        "bare_patches_per_second": median(turn["bare"] for turn in rounds),
        "ratio": round(ratios["grpc"], 3),
        "ratio_shm": round(ratios["shm"], 3),
        "rounds": rounds,
        "served": rows,
    }
    path = arguments.out / "serving.json"
    path.write_text(json.dumps(figures, indent=2) + "\n")
    plot(figures, path.with_suffix(".png"))
    print(
        f"bare {figures['bare_patches_per_second']:.1f} patches/s; served over gRPC "
        f"{figures['ratio']} of it, over shared memory {figures['ratio_shm']}; all in {path}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
