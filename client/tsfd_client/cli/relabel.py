"""``tsfd relabel``: give classes of one's own to the nuclei of finished results."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from tsfd_client.classes.relabel import OwnClasses, folders_of, relabel
from tsfd_client.cli import options
from tsfd_client.errors import DiskFullError, ServerUnavailableError, TsfdError
from tsfd_client.files import PARQUET
from tsfd_client.names import shown
from tsfd_client.nuclei.table import count
from tsfd_client.slides.memory import give_back

_STOPPED = "tsfd: stopped; what is kept stays. Run the same command again to go on."


def relabel_all(arguments: argparse.Namespace) -> int:
    """Relabel the results on the command line; return the exit code."""
    give_back()
    own = OwnClasses.read(arguments.classes)
    folders = folders_of(arguments.results, own, arguments.out)
    server, failed = options.connection(arguments), 0
    for result, folder in folders.items():
        began = time.monotonic()
        try:
            found = relabel(result, own, folder, server)
        except TsfdError as error:
            print(f"tsfd: {shown(str(error))}", file=sys.stderr, flush=True)
            failed += 1
            if isinstance(error, (ServerUnavailableError, DiskFullError)):
                print(_STOPPED, file=sys.stderr)
                return 1
        except KeyboardInterrupt:
            print(_STOPPED, file=sys.stderr)
            return 130
        else:
            _say_what_was_found(result, folder, found, time.monotonic() - began)
    return 1 if failed else 0


def _say_what_was_found(result: Path, folder: Path, found: dict[str, Any], seconds: float) -> None:
    counts = {name: figures["nuclei"] for name, figures in found["classes"].items()}
    left_out = count(result / PARQUET) - found["nuclei"]
    named = [f"{n} {name}" for name, n in counts.items() if n]
    named += [f"{left_out} left out"] if left_out else []
    told = f"{result}: {found['nuclei']} nuclei ({', '.join(named) or 'none'}) in {folder}"
    print(f"{shown(told)}, {seconds:.0f} s", flush=True)
