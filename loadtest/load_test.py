"""Run the profiles of a load test one after the other against one server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import tritonclient.grpc as triton

from bench.machine import machine
from conversion.openvino_throughput import best_way, rate
from loadtest import answers
from loadtest.arrivals import mean_patches
from loadtest.judge import Check, Result, judge, knee, result
from loadtest.profiles import Load, Profile
from loadtest.report import Report
from loadtest.run import Outcome, Target, closed_loop, open_loop
from loadtest.server_times import Reading
from serving.environment import ROOT
from serving.server import ARTEFACT, ServerError, TritonServer
from tsfd_client import Client

REPOSITORY = ROOT / "model_repository"
_BARE_SECONDS = 3.0


@dataclass
class LoadTest:
    """A load test; its later profiles take their rates from the results of earlier ones.

    Parameters
    ----------
    target
        The server.
    load
        Profiles and mix.
    out
        Folder for all files.
    model
        Network for the bare runtime.
    processes
        Number of processes of the generator.
    way
        How to run the bare runtime (`conversion.openvino_throughput.best_way`); None if its rate
        is given.

    Attributes
    ----------
    bare
        Patches per second of the bare runtime, from each measurement so far.
    knee
        Highest rate, in patches per second, that is answered in time, once known.
    """

    target: Target
    load: Load
    out: Path
    model: Path
    processes: int = 1
    way: tuple[str, int] | None = None
    bare: list[float] = field(default_factory=list)
    knee: float | None = None
    results: list[Result] = field(default_factory=list)
    times: list[list[Reading]] = field(default_factory=list)
    machine: dict[str, str | int] = field(default_factory=machine)

    def measure_bare(self, given: float | None = None) -> None:
        """Measure the bare runtime once more while the server is idle."""
        if self.way:
            given = rate(self.model, *self.way, seconds=_BARE_SECONDS)
        self.bare.append(given or self.bare[-1])

    def run(self, profile: Profile) -> None:
        """Run a profile; if it has a stall, also in a closed loop, for comparison."""
        unit = median(self.bare) if profile.of == "bare" else self.knee
        options = {"processes": self.processes, "stall": profile.stall}
        folder = self.out / profile.name
        if profile.steps is None:
            outcome = closed_loop(
                self.target, profile.users, profile.seconds, folder, processes=self.processes
            )
            self._keep(profile, outcome)
            self.measure_bare()
            return
        steps = [[rate * unit, seconds] for rate, seconds in profile.steps]
        outcome = open_loop(self.target, steps, folder, **options)
        self._keep(profile, outcome, steps)
        if profile.knee:
            self.knee = knee(self.results[-1], median(self.bare))
        if profile.stall:
            users = self.load.profiles["closed"].users
            ((rate, seconds),) = steps
            pace = rate / mean_patches(self.load.mix) / users
            outcome = closed_loop(
                self.target, users, seconds, folder / "closed", pace=pace, **options
            )
            self._keep(replace(profile, name=f"{profile.name}, closed loop", limits={}), outcome)
        self.measure_bare()

    def _keep(
        self, profile: Profile, outcome: Outcome, steps: list[list[float]] | None = None
    ) -> None:
        self.results.append(result(profile, outcome.records, steps, outcome.agreement))
        self.times.append(outcome.times)
        figures = self.results[-1].figures
        print(
            f"{profile.name:>20}  {figures.requests:6} requests, offered {figures.offered:.1f}, "
            f"answered {figures.answered:.1f} patches/s, "
            f"p50 {1000 * figures.latency['p50']:.0f} ms, "
            f"p99 {1000 * figures.latency['p99']:.0f} ms, "
            f"failed: {figures.failures or 'none'}",
            flush=True,
        )

    def checks(self) -> list[Check]:
        """Check the limits of all profiles that have run."""
        return [
            check
            for found in self.results
            for check in judge(
                found,
                bare=median(self.bare),
                knee=self.knee or 0.0,
                lag_p99_ms=self.load.lag_p99_ms,
                slow=self.load.profiles["steps"].knee,
            )
        ]

    def report(self) -> list[Check]:
        """Write the report; returns all checks."""
        checks = self.checks()
        Report(
            self.machine,
            self.target.url,
            self.target.release,
            self.bare,
            self.knee,
            self.results,
            self.times,
            checks,
        ).write(self.out)
        return checks


@contextlib.contextmanager
def prepared(
    load: Load,
    out: Path,
    *,
    repository: Path = REPOSITORY,
    server: str | None = None,
    bare: float | None = None,
    processes: int = 1,
) -> Iterator[LoadTest]:
    """Prepare a load test: the server, the right answers and the bare runtime's rate.

    Parameters
    ----------
    repository
        The model repository.
    server
        ``host:port`` of a running server; None starts one.
    bare
        Patches per second of the bare runtime; None measures it here.

    Raises
    ------
    serving.server.ServerError, tsfd_client.TsfdError
        If there is no network, or the server cannot start or be used.
    """
    model = repository / ARTEFACT
    if not model.is_file():
        raise ServerError(f"{model} is missing: run `make convert`.")
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        own = None if server else stack.enter_context(TritonServer(repository))
        url = server or own.grpc_url
        asked = answers.compute(repository, exact=not _is_on_gpu(url))
        asked.save(out / "answers.pickle")
        pid = own.pid if own else None
        target = Target(url, asked.release, out / "answers.pickle", pid)
        test = LoadTest(target, load, out, model, processes, None if bare else best_way(model))
        test.measure_bare(bare)
        yield test


def _is_on_gpu(url: str) -> bool:
    """Whether a server uses another profile than the CPU's, whose answers must be exact."""
    with Client(url) as client:
        client.check()
    with triton.InferenceServerClient(url) as connection:
        return connection.get_model_config("tsfd_net").config.backend != "python"
