"""Command line: ``tsfd segment``, ``status``, ``view``, ``adapt``, ``relabel`` and others.

options   command-line options, also from a file
segment   segment pictures and slides
status    show the progress of runs
view      show results in a browser, or compare two of them
adapt     learn classes from marks
relabel   give them to the nuclei of results
regions   count nuclei in regions
measure   measure the nuclei of results
results   the results that a command names
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import FrameType

from tsfd_client.cli import options
from tsfd_client.contract import VERSION
from tsfd_client.errors import TsfdError
from tsfd_client.names import shown
from tsfd_client.remote.cache import choose
from tsfd_client.remote.trouble import LOG


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    # Escape what the terminal's encoding cannot represent.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # For a damaged file, print only our own line.
    for name in ("tifffile", "aiohttp"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="PIL")
    # The same if a server cannot be reached; gRPC reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    LOG.handlers[:] = [_Said()]
    logging.getLogger("asyncio").addFilter(_is_news)
    try:
        arguments = options.parse(argv)
        if "cache" in arguments:
            choose(options.cache(arguments))
        if arguments.command == "check":
            return _check(options.connection(arguments))
        if arguments.command == "status":
            from tsfd_client.cli.status import status

            return status(arguments.folder)
        if arguments.command == "view":
            from tsfd_client.cli.view import view

            return view(arguments.folder, arguments.port)
        if arguments.command == "compare":
            from tsfd_client.cli.view import compare

            return compare(arguments.a, arguments.b, arguments.out)
        if arguments.command == "adapt":
            from tsfd_client.cli.adapt import adapt

            return adapt(arguments)
        if arguments.command == "export":
            return _export(arguments)
        if arguments.command == "regions":
            from tsfd_client.cli.regions import count_regions

            return count_regions(arguments.paths)
        if arguments.command == "measure":
            from tsfd_client.cli.measure import measure_all

            with _stoppable():
                return measure_all(arguments.results)
        if arguments.command == "relabel":
            from tsfd_client.cli.relabel import relabel_all

            with _stoppable():
                return relabel_all(arguments)
        from tsfd_client.cli.segment import segment

        with _stoppable():
            return segment(arguments)
    except TsfdError as error:
        print(f"tsfd: {shown(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads our lines has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # about a path that the user gave
        print(f"tsfd: {shown(f'{error.filename}: {error.strerror}')}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tsfd: stopped; files already written are complete.", file=sys.stderr)
        return 130


class _Said(logging.Handler):
    """Prints what goes wrong with a store and is mended, as the other lines."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"tsfd: {shown(record.getMessage())}", file=sys.stderr, flush=True)


def _is_news(record: logging.LogRecord) -> bool:
    """False of a transfer that is in the middle when the program ends."""
    return "was destroyed but it is pending" not in record.getMessage()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Treat SIGTERM, with which schedulers end jobs, like Ctrl-C, which asyncio handles."""

    def stop(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A shell's background jobs ignore SIGINT, and asyncio installs its handler only over Python's
    # own. So restore Python's: an exception raised within a callback would not stop asyncio.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _check(server: options.Server) -> int:
    from tsfd_client.server.client import Client

    with Client(**server) as client:
        served = client.check()
    release = served.release
    print(
        f"The server at {server['url']} is ready: release {release.name}, contract {VERSION}, "
        f"Triton {served.triton}; this is tsfd-client {version('tsfd-client')}."
    )
    print(f"Scale: {release.mpp:g} µm per pixel ({10 / release.mpp:.0f}x); {release.precision}.")
    print(f"Classes: {', '.join(release.class_names[1:])}.")
    thresholds = (f"{name} {value}" for name, value in release.settings.given().items())
    print(f"Thresholds: {', '.join(thresholds)}.")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from tsfd_client.export import export
    from tsfd_client.slides.memory import give_back

    give_back()
    print(f"Wrote {shown(export(arguments.folder, arguments.to, arguments.out))}")
    return 0
