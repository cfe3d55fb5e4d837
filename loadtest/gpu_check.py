"""Run all checks of a GPU host: ``python -m loadtest.gpu_check``, `make gpu-check`.

Builds the image, finds or builds the engine for the GPU and checks it, starts the server, times
batches of 1 to 32 patches, and sustains a load for some minutes. Every step is reported as it ends;
the first failure ends the check. Writes ``report.json`` and ``report.md``, to be sent back. On a
machine without a GPU, a network compiled by OpenVINO takes the place of the engine, and the CPU
profile is served: with ``--profile image`` by the image for CPUs, with ``--profile cpu`` by the
embedded server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil
import tritonclient.grpc as triton

from bench import gpu as sweep
from bench.machine import machine
from deploy.image.build import IMAGE as CPU_IMAGE
from loadtest import profiles
from loadtest.load_test import REPOSITORY, prepared
from loadtest.profiles import Load, ProfileError
from loadtest.resources import Resources
from loadtest.run import LoadError
from loadtest.soak import table
from serving import installation
from serving.environment import ROOT
from serving.server import ServerError
from tsfd_client import TsfdError

_IMAGE = "tsfd-triton"
_ENGINES = "tsfd-gpu-check"  # a volume: the image's user cannot write to a folder of this user
_SERVER = "tritonserver"
_SAMPLES = 60  # samples of the processes' resources over the soak, enough to show a trend


class CheckError(RuntimeError):
    """A step has failed; the message says why."""


@dataclass(frozen=True)
class Place:
    """The commands for one place where the server can run.

    Attributes
    ----------
    prepare
        Command that must succeed first, or None.
    ensure_engine, serve
        Commands that run `conversion.ensure_engine` and `serving`.
    environment
        Variables for `ensure_engine`.
    inspect
        Command that prints the process id of the container that `serve` starts; None without one.
    """

    prepare: list[str] | None
    ensure_engine: list[str]
    serve: list[str]
    environment: dict[str, str]
    inspect: list[str] | None = None


def on_gpu(out: Path) -> Place:
    """Serve in NVIDIA's container on this GPU host."""
    build = ["docker", "build", "--file=deploy/Dockerfile", f"--tag={_IMAGE}", "."]
    return _in_container(build, ["docker", "run", "--gpus=all"], _IMAGE, [], [])


def in_image(out: Path) -> Place:
    """Serve in the image for CPUs, by Podman."""
    build = [sys.executable, "-m", "deploy.image.build"]
    # Limits that are granted where Podman itself runs in a container, too.
    run = ["podman", "run", "--runtime=runc", "--read-only-tmpfs=false"]
    run += ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
    return _in_container(build, run, CPU_IMAGE, ["--builder=openvino"], ["--rehearse"])


def _in_container(
    build: list[str], run: list[str], image: str, builder: list[str], rehearse: list[str]
) -> Place:
    run = [*run, "--rm", "--shm-size=2g", "--read-only", "--tmpfs=/tmp"]
    run += [f"--volume={REPOSITORY}:/models:ro", f"--volume={_ENGINES}:/engines"]
    options = ["--repository=/models", "--engines=/engines"]
    ensure = ["--entrypoint=python3", image, "-m", "conversion.ensure_engine", *builder, *options]
    name = f"tsfd-gpu-check-{os.getpid()}"
    serve = [f"--name={name}", "--publish=127.0.0.1:8001:8001", image, *options]
    serve += ["--host=0.0.0.0", *rehearse]
    inspect = [run[0], "inspect", "--format={{.State.Pid}}", name]
    return Place(build, [*run, *ensure], [*run, *serve], dict(os.environ), inspect)


def embedded(out: Path) -> Place:
    """Serve with the embedded server on this machine's processor; engines are kept in `out`.

    Raises
    ------
    CheckError
        If the server is not set up.
    """
    found = installation.find()
    if found is None:
        raise CheckError("The Triton server's environment is missing: run `make setup`.")
    command = [found.python, "-m", "conversion.ensure_engine", "--builder=openvino"]
    options = [f"--repository={REPOSITORY}", f"--engines={(out / 'engines').resolve()}"]
    ports = [f"--{name}-port=0" for name in ("grpc", "http", "metrics", "health")]
    return Place(
        prepare=None,
        ensure_engine=[*command, *options],
        serve=[sys.executable, "-m", "serving", "--rehearse", *ports, *options],
        environment=found.environment | {"PYTHONPATH": str(ROOT)},
    )


PLACES: dict[str, Callable[[Path], Place]] = {
    "gpu": on_gpu,
    "image": in_image,
    "cpu": embedded,
}


@dataclass
class Report:
    """The results, filled in step by step.

    Attributes
    ----------
    profile
        ``"gpu"`` or ``"cpu"``.
    client
        The machine that ran the check.
    steps
        Duration of each completed step in seconds.
    failed
        Step and reason; None if all passed.
    engine
        The output of `conversion.ensure_engine`.
    triton
        Version of the server.
    rows
        The result of `bench.gpu.measure`.
    soak
        Knee in patches per second, the Markdown table of `loadtest.soak`, trends, and the limits
        that did not hold.
    """

    profile: str
    client: dict[str, str | int] = field(default_factory=machine)
    steps: dict[str, float] = field(default_factory=dict)
    failed: str | None = None
    engine: dict = field(default_factory=dict)
    triton: str = ""
    rows: list[dict] = field(default_factory=list)
    soak: dict = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step and print how it ended."""
        print(f"{name} ...", end=" ", flush=True)
        start = time.monotonic()
        try:
            yield
        except Exception as error:
            self.failed = f"{name}: {error}"
            print("failed")
            raise
        self.steps[name] = round(time.monotonic() - start, 1)
        print(f"{self.steps[name]:g} s", flush=True)

    def write(self, out: Path) -> None:
        """Write ``report.json`` and ``report.md``."""
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps(asdict(self), indent=2) + "\n")
        (out / "report.md").write_text(self.markdown())

    def markdown(self) -> str:
        """Return a summary of the report in Markdown."""
        lines = [
            f"# {self.profile.upper()} check, {self.client['date']} UTC: "
            + ("FAILED" if self.failed else "passed"),
            "",
            *([self.failed, ""] if self.failed else []),
            f"{self.client['cpu']}, {self.client['cores']} cores, GPU: {self.client['gpu']}",
            "",
            "| step | seconds |",
            "|---|---|",
            *(f"| {name} | {seconds:g} |" for name, seconds in self.steps.items()),
        ]
        if self.engine:
            host, parity = self.engine["host"], self.engine["parity"]
            driver = f", driver {host['driver']}" if host["driver"] else ""
            built = self.engine["build_seconds"]
            lines += [
                "",
                f"{host['runtime']} {host['version']}, {host['gpu']['name']}{driver}, "
                f"Triton {self.triton or 'not reached'}. Plan: {self.engine['source']}"
                f"{f' in {built:g} s' if built else ''}; {parity['nuclei']} nuclei against "
                f"{parity['nuclei_reference']}, PQ {parity['panoptic_quality']:.4f}.",
            ]
        if self.rows:
            lines += [
                "",
                "| model | batch | patches/s | median ms | p95 ms | post-processing |",
                "|---|---|---|---|---|---|",
                *(
                    f"| {row['model']} | {row['batch']} | {row['patches_per_second']} | "
                    f"{row['median_ms']} | {row['p95_ms']} | {row.get('postprocess_share', '')} |"
                    for row in self.rows
                ),
            ]
        if self.soak:
            lines += ["", f"Knee: {self.soak['knee']:.1f} patches per second. Then 70 % of it:", ""]
            lines += [self.soak["table"].rstrip(), *(f"\n{s}" for s in self.soak["broken"])]
        return "\n".join(lines) + "\n"


def check(
    report: Report,
    out: Path,
    load: Load,
    *,
    batches: tuple[int, ...] = sweep.BATCHES,
    seconds: float = 10.0,
    minutes: float = 5.0,
) -> None:
    """Run all steps and fill in the report.

    Parameters
    ----------
    out
        Folder for the files of the soak.
    load
        The load; its profiles ``steps`` and ``soak`` are run.
    batches, seconds
        Batch sizes, and the seconds for which each is timed.
    minutes
        Duration of the soak.

    Raises
    ------
    CheckError, OSError, LoadError, ServerError, TsfdError
        The error that ended the first step that failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    place = PLACES[report.profile](out)
    if place.prepare:
        with report.step("build the image"):
            _run(place.prepare, dict(os.environ))
    with report.step("find or build the engine, and check it"):
        found = _run(place.ensure_engine, place.environment)
        # NVIDIA's image prints a banner first.
        report.engine = json.loads(_last(found.stdout)) | {"log": found.stderr.splitlines()}
    with contextlib.ExitStack() as stack:
        with report.step("start the server"):
            url, pid = stack.enter_context(_served(place, out / "server.log"))
            with triton.InferenceServerClient(url) as connection:
                report.triton = connection.get_server_metadata().version
        with report.step("time the batches"):
            report.rows = sweep.measure(url, batches=batches, seconds=seconds)
        with report.step("sustain the load"):
            _soak(report, out, load, minutes, url, pid)


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
    """Run a command; if it fails, its last line of output is the reason."""
    result = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise CheckError(_last(result.stderr or result.stdout).removeprefix("ensure_engine: "))
    return result


@contextlib.contextmanager
def _served(place: Place, log: Path) -> Iterator[tuple[str, int | None]]:
    """Yield the address of a ready server, and its process if visible on this machine."""
    with (
        log.open("w") as file,
        subprocess.Popen(
            place.serve, cwd=ROOT, stdout=subprocess.PIPE, stderr=file, text=True
        ) as process,
    ):
        try:
            ready = next((line for line in process.stdout if line.startswith("READY")), None)
            if ready is None:
                raise CheckError(_last(log.read_text()))
            port = ready.split()[2].rpartition(":")[2]
            yield f"127.0.0.1:{port}", _triton(process.pid, place.inspect)
        finally:
            process.terminate()


def _last(words: str) -> str:
    return (words.strip().splitlines() or ["it gave no reason"])[-1]


def _triton(starter: int, inspect: list[str] | None) -> int | None:
    """Find the server among the processes of `starter`, or of the container, if it is visible."""
    try:
        first = int(_run(inspect, dict(os.environ)).stdout) if inspect else starter
        own = psutil.Process(first)
        found = [p.pid for p in (own, *own.children(recursive=True)) if p.name() == _SERVER]
    except (CheckError, ValueError, psutil.Error):
        return None
    return found[0] if found else None


def _soak(report: Report, out: Path, load: Load, minutes: float, url: str, pid: int | None) -> None:
    best = max(row["patches_per_second"] for row in report.rows if "postprocess_share" in row)
    soak = load.profiles["soak"]
    ((rate, _),) = soak.steps
    every = max(1.0, 60 * minutes / _SAMPLES)
    with (
        prepared(load, out / "soak", server=url, bare=best, processes=sweep.senders()) as test,
        contextlib.ExitStack() as stack,
    ):
        test.run(load.profiles["steps"])
        if not test.knee:
            raise CheckError("not even the lowest load is answered in time.")
        resources = stack.enter_context(Resources(pid, every)) if pid else None
        test.run(replace(soak, steps=[[rate, 60 * minutes]]))
        # The steps exceed what the server can take, so only wrong answers count.
        checks = [c for c in test.report() if c.profile == soak.name or c.name == "wrong answers"]
    enough = resources is not None and len(resources.times) > 0.8 * _SAMPLES
    trends = resources.trends() if enough else []
    broken = [str(check) for check in checks if not check.holds]
    report.soak = {
        "knee": test.knee,
        "table": table(test.results[-1], trends, test.machine),
        "trends": [asdict(trend) for trend in trends],
        "broken": broken,
    }
    if broken:
        raise CheckError("; ".join(broken))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.gpu_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", choices=PLACES, default="gpu")
    parser.add_argument(
        "--minutes", type=float, default=5, help="duration of the soak; default: %(default)s"
    )
    parser.add_argument("--out", type=Path, default=Path("build/gpu-check"), metavar="DIR")
    arguments = parser.parse_args(argv)
    report = Report(arguments.profile)
    try:
        check(report, arguments.out, profiles.read(), minutes=arguments.minutes)
    except (
        *(CheckError, LoadError, OSError, ProfileError, ServerError, TsfdError),
        triton.InferenceServerException,
    ) as error:
        print(f"gpu-check: {report.failed or error}", file=sys.stderr)
        report.failed = report.failed or str(error)
    report.write(arguments.out)
    print(f"The report is {arguments.out}/report.md, all figures are in report.json.")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
