"""The knee as NVIDIA's Perf Analyzer finds it, beside ours: ``python -m loadtest.perf_analyzer``.

The rates of the profile ``steps``, one patch per request, are offered to the server first by this
load test, then by Perf Analyzer, both with Poisson arrivals. The knee is the rate up to which 95 %
are answered in time. Perf Analyzer cannot choose outputs: its answers also have the maps of
probabilities, 460 KB per patch. Writes ``perf_analyzer.json``.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from loadtest import profiles
from loadtest.load_test import LoadTest, prepared
from loadtest.profiles import Profile, ProfileError
from loadtest.run import LoadError
from samples.patches import patches
from serving.environment import ROOT
from serving.server import ServerError
from tsfd_client import TsfdError
from tsfd_client.contract import MODEL

ENVIRONMENT = ROOT / "build/perf-env"
_CUDA = "lib/python3*/site-packages/nvidia/cuda_runtime/lib"
_WINDOWS = 3  # in which Perf Analyzer measures each rate


class PerfAnalyzerError(RuntimeError):
    """Perf Analyzer cannot be run; the message says why."""


@dataclass(frozen=True)
class Step:
    """Patches per second offered and answered, and the latency of 95 % in milliseconds."""

    offered: float
    answered: float
    p95_ms: float


def compare(test: LoadTest, steps: Profile) -> dict[str, object]:
    """Measure the same rates both ways.

    Raises
    ------
    PerfAnalyzerError
        If Perf Analyzer fails.
    """
    bare = median(test.bare)
    limit_ms = 1000 * steps.knee / bare
    test.run(steps)
    ours = [
        Step(rate, figures.answered, 1000 * figures.latency["p95"])
        for rate, figures in test.results[-1].steps
    ]
    theirs = perf_analyzer(test.target.url, [bare * rate for rate, _ in steps.steps], steps)
    return {
        "machine": test.machine,
        "bare": bare,
        "limit_ms": limit_ms,
        "ours": [asdict(step) for step in ours],
        "perf_analyzer": [asdict(step) for step in theirs],
        "knee_ours": test.knee,
        "knee_perf_analyzer": _knee(theirs, limit_ms),
    }


def perf_analyzer(url: str, rates: list[float], steps: Profile) -> list[Step]:
    """Let Perf Analyzer offer rates, in patches per second and equally far apart."""
    with TemporaryDirectory() as folder:
        images, found = Path(folder, "images.json"), Path(folder, "found.csv")
        data = [{"image": {"b64": base64.b64encode(patch).decode()}} for patch in patches()]
        images.write_text(json.dumps({"data": data}))
        window_ms = round(1000 * steps.steps[0][1] / _WINDOWS)
        span = f"{rates[0]:.3f}:{rates[-1]:.3f}:{rates[1] - rates[0]:.3f}"
        command = [str(ENVIRONMENT / "bin/perf_analyzer"), f"-m{MODEL}", f"-u{url}", "-igrpc"]
        command += ["--async", f"--input-data={images}", "--request-distribution=poisson"]
        command += [f"--request-rate-range={span}", "--percentile=95", f"-f{found}"]
        command += [f"--measurement-interval={window_ms}", f"--max-trials={_WINDOWS}"]
        command += ["--stability-percentage=999"]  # windows of random arrivals always differ
        _run(command)
        with found.open(newline="") as file:
            rows = [{name: float(of) for name, of in row.items()} for row in csv.DictReader(file)]
    return sorted(
        (
            Step(row["Request Rate"], row["Inferences/Second"], row["p95 latency"] / 1000)
            for row in rows
        ),
        key=lambda step: step.offered,
    )


def _run(command: list[str]) -> None:
    cuda = ":".join(map(str, ENVIRONMENT.glob(_CUDA)))
    try:
        subprocess.run(
            command,
            env=os.environ | {"LD_LIBRARY_PATH": cuda},
            capture_output=True,
            text=True,
            check=True,
        )
    except FileNotFoundError:
        raise PerfAnalyzerError("it is not installed; run `make perf-analyzer`.") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines()
        raise PerfAnalyzerError(said[-1] if said else f"exit code {error.returncode}") from None


def _knee(steps: list[Step], limit_ms: float) -> float:
    """The highest rate up to which all are answered in time, or 0."""
    late = [step.offered for step in steps if step.p95_ms > limit_ms]
    return max((s.offered for s in steps if not late or s.offered < min(late)), default=0.0)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.perf_analyzer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--server", metavar="HOST:PORT", help="a running server; default: start one"
    )
    parser.add_argument(
        "--bare",
        type=float,
        metavar="RATE",
        help="patches per second of the bare runtime on the server's host; default: measured here",
    )
    parser.add_argument("--out", type=Path, default=Path("build/loadtest"), metavar="DIR")
    arguments = parser.parse_args(argv)
    try:
        load = replace(profiles.read(), mix={"tile": 1.0})
        with prepared(load, arguments.out, server=arguments.server, bare=arguments.bare) as test:
            found = compare(test, load.profiles["steps"])
    except (LoadError, PerfAnalyzerError, ProfileError, ServerError, TsfdError) as error:
        print(f"perf-analyzer: {error}", file=sys.stderr)
        return 1
    path = arguments.out / "perf_analyzer.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{'':<14} {'offered':>8} {'answered':>9} {'p95 ms':>7}")
    for name in ("ours", "perf_analyzer"):
        for step in found[name]:
            print(
                f"{name:<14} {step['offered']:>8.1f} {step['answered']:>9.1f} "
                f"{step['p95_ms']:>7.0f}"
            )
    print(
        f"Knee, 95 % answered within {found['limit_ms']:.0f} ms: {found['knee_ours']:.1f} "
        f"patches/s by this load test, {found['knee_perf_analyzer']:.1f} by Perf Analyzer."
    )
    print(f"All figures: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
