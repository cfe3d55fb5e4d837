"""A plan for this host: the repository's own, one of the cache, or one that is built now.

    python3 -m conversion.ensure_engine --repository /models --engines /engines

Whichever it is, it must be what its sidecar says, be built from the repository's network for this
TensorRT and this GPU, and answer the recorded patches as the SavedModel does, here and now; a plan
that does not is not used. Every step is a line on stderr that begins with ``engine: ``; on stdout
comes JSON: where the plan is, and what was found. Exit code 1 with one line if there is no plan
that may serve.

Needs numpy and what the post-processing needs, beside the builder's own packages.
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
    """A plan that may serve, and how it was come by.

    Attributes
    ----------
    plan
        Its path.
    source
        ``"repository"``, ``"cache"`` or ``"built"``.
    host
        What it was run on.
    parity
        How its answers differ from the SavedModel's.
    build_seconds
        None where it was there.
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
        The model repository; nothing is written there.
    engines
        Folder of the cache.
    command
        Builds and runs engines: see `conversion.engine_command`.

    Raises
    ------
    ConversionError
        If the host is not supported, or no plan may serve.
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
    """Put a plan into the cache; how it differs from the SavedModel, and the seconds it took."""
    say("building a plan, which takes minutes on a GPU")
    start = time.monotonic()
    with cache.scratch(place, judge.source.stat().st_size) as scratch:
        built = scratch / PLAN
        engine_command.build(command, judge.source, built)
        seconds = round(time.monotonic() - start, 1)
        say(f"built in {seconds} s")
        try:
            parity = judge.parity(built)
        except ConversionError as error:
            reason = f"The plan that was built here must not serve: {error}"
            raise ConversionError(reason) from error
        cache.keep(scratch, place)
    say(f"kept as {place}")
    return parity, seconds


class Judge:
    """Says whether a plan may serve.

    Parameters
    ----------
    host, command
        Where, and what runs it.
    folder
        Of the network in the repository.

    Attributes
    ----------
    source
        The ONNX file that plans are built from.
    source_sha256
        Of its content.

    Raises
    ------
    ConversionError
        If the repository lacks what plans are built from and judged by.
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
        """How a plan differs from the SavedModel; None where it must not serve, or is not there."""
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
        """How a plan differs from the SavedModel.

        Raises
        ------
        ConversionError
            If it must not serve here.
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
    """A line for the log."""
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
    # Judged by the post-processing that will serve.
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
