"""Find a plan for this host in the repository or the cache, or build one.

    python3 -m conversion.ensure_engine --repository /models --engines /engines

A plan is used only if it matches its sidecar, was built from the repository's network for this
TensorRT and this GPU, and answers the recorded patches here and now as the SavedModel does. Every
step is a line on stderr that begins with ``engine: ``; the result, with the plan's path, goes to
stdout as JSON. The exit code is 1, with one line, if no plan can be served.

Needs only numpy, the packages of the post-processing and those of the builder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conversion import cache, engine_command
from conversion.errors import ConversionError
from conversion.host_support import Host, refusal
from conversion.model_io import ENGINE_SOURCE, PARITY_DATA, PLAN
from conversion.sidecar import Sidecar, misfit

if TYPE_CHECKING:
    from conversion.parity import Parity

BUILDERS = {
    "tensorrt": engine_command.THIS_PYTHON,
    "openvino": (sys.executable, "-m", "conversion.openvino_engine"),
}


@dataclass(frozen=True)
class Found:
    """A plan that can be served, and where it came from.

    Attributes
    ----------
    plan
        Its path.
    source
        ``"repository"``, ``"cache"`` or ``"built"``.
    host
        The host it was run on.
    parity
        Differences between its answers and the SavedModel's.
    build_seconds
        Duration of the build; None if the plan existed.
    """

    plan: Path
    source: str
    host: Host
    parity: Parity
    build_seconds: float | None = None

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), default=str)


def find(repository: Path, engines: Path, command: Sequence[str]) -> Found:
    """Find the plan of a repository for this host, or build it.

    Parameters
    ----------
    repository
        The model repository; not written to.
    engines
        Folder of the cache.
    command
        Command that builds and runs engines; see `conversion.engine_command`.

    Raises
    ------
    ConversionError
        If the host is not supported, or no plan can be served.
    """
    host = engine_command.host(command)
    say(f"this host has {host.line()}")
    refused = refusal(host, os.environ.get("TRITON_SERVER_VERSION"))
    if refused:
        raise ConversionError(refused)
    folder = repository / "tsfd_net" / "1"
    judge = Judge(host, command, folder)

    shipped = folder / PLAN
    parity = judge.accepts(shipped)
    if parity:
        return Found(shipped, "repository", host, parity)
    name = cache.key(judge.source_sha256, host)
    with cache.locked(engines, name, _waits) as kept:
        parity = judge.accepts(kept)
        if parity:
            return Found(kept, "cache", host, parity)
        parity, seconds = _build(judge, command, kept)
    return Found(kept, "built", host, parity, seconds)


def _build(judge: Judge, command: Sequence[str], place: Path) -> tuple[Parity, float]:
    """Build a plan in the cache; returns its differences from the SavedModel, and the seconds."""
    say("building a plan, which takes minutes on a GPU")
    start = time.monotonic()
    with cache.scratch(place, judge.source.stat().st_size) as scratch:
        built = scratch / PLAN
        engine_command.build(command, judge.source, built)
        cache.keep_timings(scratch)
        seconds = round(time.monotonic() - start, 1)
        say(f"built in {seconds} s")
        try:
            parity = judge.parity(built)
        except ConversionError as error:
            reason = f"The plan built here cannot be served: {error}"
            raise ConversionError(reason) from error
        cache.keep(scratch, place)
    say(f"kept as {place}")
    return parity, seconds


class Judge:
    """Judges whether a plan can be served.

    Parameters
    ----------
    host, command
        The host that runs it, and the command that does.
    folder
        The network's folder in the repository.

    Attributes
    ----------
    source
        The ONNX file that plans are built from.
    source_sha256
        SHA-256 of its content.

    Raises
    ------
    ConversionError
        If the repository lacks the files that plans are built from and judged by.
    """

    def __init__(self, host: Host, command: Sequence[str], folder: Path) -> None:
        from conversion.parity_data import ParityData  # with the repository's own post-processing

        self.source = folder / ENGINE_SOURCE
        if not self.source.is_file():
            raise ConversionError(f"{self.source} is missing: run `make convert`.")
        self.source_sha256 = hashlib.sha256(self.source.read_bytes()).hexdigest()
        self._expected = ParityData.read(folder / PARITY_DATA)
        self._host = host
        self._command = command

    def accepts(self, candidate: Path) -> Parity | None:
        """The differences of a plan from the SavedModel; None if it is missing or unacceptable."""
        if not candidate.is_file():
            return None
        try:
            parity = self.parity(candidate)
        except ConversionError as error:
            say(f"{candidate} is not used: {error}")
            return None
        say(f"{candidate} fits")
        return parity

    def parity(self, candidate: Path) -> Parity:
        """Run a plan and compare its answers with the SavedModel's.

        Raises
        ------
        ConversionError
            If it cannot be served here.
        """
        from conversion.parity import compare

        unfit = misfit(candidate, version=self._host.version, device=self._host.gpu)
        if unfit:
            raise ConversionError(f"{unfit}.".replace(str(candidate), "it", 1))
        if Sidecar.read(candidate).onnx_sha256 != self.source_sha256:
            raise ConversionError(f"it was built from another network than {self.source}.")
        expected = self._expected
        with tempfile.TemporaryDirectory() as scratch:
            outputs = engine_command.run(self._command, candidate, expected.images, Path(scratch))
        form = f"{self._host.runtime} engine"
        result = compare(form, expected.outputs, outputs, expected.tolerance, expected.served)
        say(result.line())
        if result.failures:
            raise ConversionError(f"{result.failures[0]}.")
        return result


def _waits() -> None:
    say("another process builds this plan: waiting for it")


def say(step: str) -> None:
    """Write a line to the log."""
    print(f"engine: {step}", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python3 -m conversion.ensure_engine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--engines", type=Path, required=True, help="folder of the cache")
    parser.add_argument("--builder", choices=BUILDERS, default="tensorrt")
    arguments = parser.parse_args(argv)
    # The plan is judged with the post-processing that will be served.
    sys.path.insert(0, str(arguments.repository / "nuclei_postprocess" / "1"))
    try:
        command = BUILDERS[arguments.builder]
        found = find(arguments.repository.resolve(), arguments.engines.resolve(), command)
    except (ConversionError, OSError) as error:
        print(f"ensure_engine: {error}", file=sys.stderr)
        return 1
    print(found.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
