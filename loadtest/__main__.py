"""Load test against thresholds: ``python -m loadtest``, `make loadtest`.

Starts the server (or takes ``--server``), runs Locust against it, measures the bare CPU runtime in
this process and compares: no failed or wrong answer, and patches per second of at least
``--min-ratio`` of the bare runtime on the same cores. Writes ``report.html``, Locust's CSV files
and ``summary.json``; the exit code is 0 only if both thresholds hold.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

from conversion.bare import best_rate
from deploy.server import ARTEFACT, ServerError, TritonServer
from deploy.setup import ROOT


def run_locust(url: str, *, users: int, batch: int, seconds: float, out: Path) -> dict[str, float]:
    """Run Locust headless; returns requests, failures, patches per second and latencies in ms."""
    out.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py")),
        *("--headless", "--only-summary", "--host", url),
        *("-u", str(users), "-r", str(users), "-t", f"{seconds:g}s", "--reset-stats"),
        *("--html", str(out / "report.html"), "--csv", str(out / "locust")),
    ]
    environment = os.environ | {"LOADTEST_BATCH": str(batch), "PYTHONPATH": str(ROOT)}
    with (out / "locust.log").open("w") as log, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=ROOT,
            timeout=seconds + 120,
        )
    stats = out / "locust_stats.csv"
    rows = list(csv.DictReader(stats.read_text().splitlines())) if stats.is_file() else []
    total = next((row for row in rows if row["Name"] == "Aggregated"), None)
    if total is None or total["Request Count"] == "0":
        return {"requests": 0, "failures": 0, "patches_per_second": 0.0}
    return {
        "requests": int(total["Request Count"]),
        "failures": int(total["Failure Count"]),
        "patches_per_second": batch * float(total["Requests/s"]),
        "median_ms": float(total["50%"]),
        "p95_ms": float(total["95%"]),
        "p99_ms": float(total["99%"]),
    }


def judge(result: dict[str, float], minimum_rate: float) -> list[str]:
    """The thresholds that do not hold, one sentence each."""
    broken = []
    if result["failures"]:
        broken.append(
            f"{result['failures']} of {result['requests']} requests failed or were answered "
            "wrongly: report.html lists them."
        )
    if result["patches_per_second"] < minimum_rate:
        broken.append(
            f"{result['patches_per_second']:.2f} patches per second are fewer than the "
            f"{minimum_rate:.2f} that the bare runtime's rate asks for."
        )
    return broken


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--server", metavar="HOST:PORT", help="a running server; without it one is started"
    )
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4, help="patches per request, 1 to 16")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--min-ratio", type=float, default=0.4, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("build/loadtest"), metavar="DIR")
    arguments = parser.parse_args(argv)

    model = ROOT / "model_repository" / ARTEFACT
    if not model.is_file():
        print(f"loadtest: {model} is missing: run `make convert`.", file=sys.stderr)
        return 1
    load = {
        "users": arguments.users,
        "batch": arguments.batch,
        "seconds": arguments.seconds,
        "out": arguments.out,
    }
    try:
        if arguments.server:
            result = run_locust(arguments.server, **load)
        else:
            with TritonServer() as server:
                result = run_locust(server.grpc_url, **load)
    except ServerError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1

    if not result["requests"]:
        log = arguments.out / "locust.log"
        print(f"loadtest: No request was answered: the reason is in {log}.", file=sys.stderr)
        return 1
    bare = best_rate(model)
    ratio = result["patches_per_second"] / bare
    summary = result | {"bare_patches_per_second": bare, "ratio": ratio}
    summary = {k: round(v, 3) for k, v in summary.items()}
    (arguments.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    for name, value in summary.items():
        print(f"{name:>24}  {value}")
    print(f"{'report':>24}  {arguments.out / 'report.html'}")
    broken = judge(result, arguments.min_ratio * bare)
    for sentence in broken:
        print(f"loadtest: {sentence}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
