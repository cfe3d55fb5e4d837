"""Segment a slide and print the CPU seconds of each stage, as JSON.

``python -m bench.staged SLIDE FOLDER URL TRANSPORT MPP``: `bench.around` runs it, because a process
that has loaded the benchmarks is not one that has loaded only the client.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

import tifffile

from tsfd_client import Client, TsfdError
from tsfd_client.pixels.pyramid import TiffPyramid
from tsfd_client.pixels.resample import Grid
from tsfd_client.slides import pipeline, segment_image
from tsfd_client.slides.many import Job
from tsfd_client.slides.memory import collect_seldom, give_back
from tsfd_client.slides.options import RunOptions
from tsfd_client.slides.run import Run
from tsfd_client.stitching import seams

_STAGES: Final = {
    "reading": [(tifffile.FileHandle, "read")],
    "decoding": [(TiffPyramid, "read")],
    "resampling": [(Grid, "resample")],
    "cutting": [(pipeline.Pipeline, "_read"), (pipeline, "_cut")],
    "stitching": [
        *((pipeline, name) for name in ("_versions", "wanted", "replace", "split")),
        (seams, "settle"),
    ],
    "writing": [
        *((pipeline, name) for name in ("from_nuclei", "to_table")),
        *((Run, "write"), (segment_image, "write_outputs")),
    ],
}
"""Functions of a run by stage; everything else that a run does is the protocol."""


def segment(slide: Path, out: Path, url: str, transport: str, mpp: float) -> dict[str, float]:
    """Segment a slide as ``tsfd segment`` does; returns the process's CPU seconds by stage."""
    give_back()
    collect_seldom()
    with Client(url) as client:
        release = client.release()
    server = {"url": url, "transport": transport}
    job = Job(slide, out, RunOptions(mpp=mpp), server, release)
    watch = Stopwatch()
    start = time.process_time()
    with watch.on(_STAGES):
        job.run()
    total = time.process_time() - start
    protocol = total - sum(watch.seconds.values())
    return {"starting": start, **watch.seconds, "protocol": protocol}


class Stopwatch:
    """Counts the CPU seconds that threads spend in functions.

    Attributes
    ----------
    seconds
        By stage. A function called by that of another stage counts for its own stage alone.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._thread = threading.local()

    @contextmanager
    def on(self, stages: Mapping[str, Sequence[tuple[object, str]]]) -> Iterator[None]:
        """Time functions within the context.

        Parameters
        ----------
        stages
            By stage: the functions, each as the module or class that has it, and its name there.
        """
        with ExitStack() as stack:
            for stage, functions in stages.items():
                for owner, name in functions:
                    timed = self._timed(stage, getattr(owner, name))
                    stack.enter_context(patch.object(owner, name, timed))
            yield

    def _timed(self, stage: str, function: Callable) -> Callable:
        @functools.wraps(function)
        def timed(*arguments: object, **named: object) -> object:
            within = self._thread.__dict__.setdefault("within", [])
            within.append(0.0)
            began = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                seconds = time.thread_time() - began
                own = seconds - within.pop()
                if within:
                    within[-1] += seconds
                with self._lock:
                    self.seconds[stage] += own

        return timed


def main(argv: list[str]) -> int:
    """Run the command line; return the exit code."""
    slide, folder, url, transport, mpp = argv
    try:
        print(json.dumps(segment(Path(slide), Path(folder), url, transport, float(mpp))))
    except TsfdError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
