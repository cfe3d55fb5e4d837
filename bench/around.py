"""Time everything around the network: ``python -m bench.around``, part of `make bench`.

Shows whether the CPU keeps up with a GPU, without one. The real server runs with its real
post-processing, but the network's place is taken by recorded answers of 30 nuclei per patch, which
cost next to nothing. A slide is segmented over gRPC, over shared memory, and once as if it had
another scale, to be resampled. Measures CPU time per patch by stage, without that of the recorded
answers, and patches per second from end to end. Writes ``around.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench.load import cpu_seconds
from bench.machine import machine
from bench.recorded import make
from bench.slides import disc
from serving.environment import ROOT
from serving.server import ServerError, TritonServer
from tsfd_client import TsfdError
from tsfd_client.slides.events import read_events
from tsfd_client.slides.status import status_of

_RUNS: Final = (("grpc", 0.25), ("shm", 0.25), ("shm", 0.2))
"""Transport, and micrometres per pixel that the slide is said to have; the network's are 0.25."""
_NETWORK: Final = "tsfd_net"


def measure(
    source: Path, slide: Path, folder: Path, *, runs: tuple[tuple[str, float], ...] = _RUNS
) -> list[dict[str, object]]:
    """Segment a slide once for each of `runs`; returns one row for each.

    Parameters
    ----------
    source
        A converted model repository.
    slide
        The slide.
    folder
        For the repository with recorded answers, and for the results.

    Raises
    ------
    ServerError, TsfdError
        If the server cannot start, or the slide cannot be segmented.
    """
    rows = []
    with TritonServer(make(source, folder)) as server:
        for number, (transport, mpp) in enumerate(runs):
            out = folder / str(number)
            before = cpu_seconds(server.pid)
            client = _run(slide, out, server.grpc_url, transport, mpp)
            after = cpu_seconds(server.pid)
            rows.append(_row(transport, mpp, out, client, _difference(before, after)))
    return rows


def _run(slide: Path, out: Path, url: str, transport: str, mpp: float) -> dict[str, float]:
    """Run `bench.staged`; returns the client's CPU seconds by stage."""
    command = [sys.executable, "-m", "bench.staged", str(slide), str(out), url, transport, str(mpp)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise TsfdError(done.stderr.strip().splitlines()[-1])
    return dict(json.loads(done.stdout))


def _difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after}


def _row(
    transport: str, mpp: float, out: Path, client: dict[str, float], server: dict[str, float]
) -> dict[str, object]:
    events = read_events(out)
    times = {event["event"]: event["time"] for event in events}
    patches = sum(event.get("asked", 0) + event.get("between", 0) for event in events)
    status = status_of(out)
    spent = {
        **client,
        "triton": server["tritonserver"],
        "post-processing": server["nuclei_postprocess"],
    }

    def per_patch(seconds: float) -> float:
        return round(1000 * seconds / patches, 3)

    return {
        "transport": transport,
        "mpp": mpp,
        "patches": patches,
        "nuclei": status.nuclei,
        "segmented_mm2": status.mm2,
        "patches_per_s": round(patches / (times["done"] - times["begun"]), 1),
        "patches_per_s_before_outputs": round(patches / (times["joining"] - times["begun"]), 1),
        "client_cpu_s_per_mm2": round(sum(client.values()) / status.mm2, 2),
        "recorded_cpu_ms_per_patch": per_patch(server[_NETWORK]),
        "cpu_ms_per_patch": {
            **{stage: per_patch(seconds) for stage, seconds in spent.items()},
            "all": per_patch(sum(spent.values())),
        },
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.around",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), metavar="DIR")
    parser.add_argument("--slide", type=Path, help="default: one made from the demo's image")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            slide = arguments.slide or disc(Path(folder))
            rows = measure(ROOT / "model_repository", slide, Path(folder))
    except (ServerError, TsfdError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    path = arguments.out / "around.json"
    path.write_text(json.dumps({"machine": machine(), "runs": rows}, indent=2) + "\n")
    for row in rows:
        print(
            f"{row['transport']} at {row['mpp']} µm: {row['patches_per_s']} patches/s, "
            f"{row['client_cpu_s_per_mm2']} s of the client's CPU per mm²"
        )
        for stage, ms in row["cpu_ms_per_patch"].items():
            print(f"  {stage:16} {ms:7.3f} ms per patch")
    print(f"All in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
