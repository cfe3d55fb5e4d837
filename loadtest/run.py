"""Run Locust with the load of one profile and collect the outcomes of the requests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conversion.agreement import Agreement
from loadtest.records import Records, read_agreement
from loadtest.server_times import Reading, ServerTimes
from serving.environment import ROOT

_GRACE = 90  # seconds for requests still in flight at the end
_START = 120  # seconds within which Locust must have started


class LoadError(RuntimeError):
    """The load could not be run; the message says why."""


@dataclass(frozen=True)
class Target:
    """A server under test.

    Attributes
    ----------
    url
        ``host:port`` of gRPC.
    pid
        Process id of ``tritonserver``, if it was started for the test.
    release
        The release that it serves.
    answers
        File with the right answers.
    """

    url: str
    release: str
    answers: Path
    pid: int | None = None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a load.

    Attributes
    ----------
    records
        All requests.
    times
        The server's own times.
    agreement
        Agreement of the nuclei with the right ones, if the server may round differently.
    """

    records: Records
    times: list[Reading]
    agreement: Agreement


def open_loop(
    target: Target,
    steps: list[list[float]],
    out: Path,
    *,
    processes: int = 1,
    stall: list[float] | None = None,
) -> Outcome:
    """Send requests at random times.

    Parameters
    ----------
    steps
        Pairs of a rate in patches per second and its duration in seconds.
    out
        Folder for Locust's files.
    processes
        Number of processes of the generator.
    stall
        Seconds until the server is suspended, and for how many.

    Raises
    ------
    LoadError
        If no request was sent.
    """
    options = ["--steps", json.dumps(steps), "-u", str(processes)]
    seconds = sum(seconds for _, seconds in steps)
    return _run(target, "Arrivals", options, seconds, out, processes, stall)


def closed_loop(
    target: Target,
    users: int,
    seconds: float,
    out: Path,
    *,
    processes: int = 1,
    pace: float = 0.0,
    stall: list[float] | None = None,
) -> Outcome:
    """Keep `users` busy, each sending a request after the last was answered; see `open_loop`.

    Parameters
    ----------
    pace
        Highest number of requests per second and user; 0: no limit.
    """
    options = ["-u", str(users), "--pace", f"{pace:g}"]
    return _run(target, "Viewer", options, seconds, out, processes, stall)


def _run(
    target: Target,
    user: str,
    options: list[str],
    seconds: float,
    out: Path,
    processes: int,
    stall: list[float] | None,
) -> Outcome:
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("requests-*"):
        old.unlink()
    command = [
        *(sys.executable, "-m", "locust", "-f", str(ROOT / "loadtest" / "locustfile.py"), user),
        *("--headless", "--only-summary", "--host", target.url, "-r", "1000"),
        *("-t", f"{seconds:g}s", "--stop-timeout", str(_GRACE)),
        *("--answers", str(target.answers), "--records", str(out), *options),
        *(("--processes", str(processes)) if processes > 1 else ()),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    log = out / "locust.log"
    with log.open("w") as file, ServerTimes(target.url) as times:
        locust = subprocess.Popen(
            command, env=environment, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT
        )
        try:
            with _stalled(target, stall, out):
                locust.wait(_START + seconds + _GRACE)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"Locust did not end: see its log, {log}.") from error
        finally:
            locust.kill()
            locust.wait()
    records = Records.read(out)
    if not len(records):
        said = [line for line in log.read_text().splitlines() if line.startswith("loadtest: ")]
        raise LoadError(
            said[-1].removeprefix("loadtest: ")
            if said
            else f"No request was sent: see {log} for the reason."
        )
    return Outcome(records, times.readings, read_agreement(out))


@contextmanager
def _stalled(target: Target, stall: list[float] | None, out: Path) -> Iterator[None]:
    """Suspend the server for a while, once the load has started."""
    if stall is None:
        yield
        return
    ended = threading.Event()

    def run() -> None:
        while not any(out.glob("requests-*.csv")) and not ended.wait(0.05):
            pass
        if not ended.wait(stall[0]):
            os.kill(target.pid, signal.SIGSTOP)
            time.sleep(stall[1])
            os.kill(target.pid, signal.SIGCONT)

    thread = threading.Thread(target=run, name="stall")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
