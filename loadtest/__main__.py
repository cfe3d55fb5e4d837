"""Run a load test and check it against limits: ``python -m loadtest``, `make loadtest`.

Starts the server (or uses ``--server``), measures the bare CPU runtime in this process, and runs
the profiles of ``load.toml``: requests at random times (an open loop) and, to find the maximum
throughput, a closed loop. Every answer is checked in full. Writes ``report.html`` and
``summary.json``; the exit code is 0 only if every limit holds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loadtest import profiles
from loadtest.load_test import REPOSITORY, prepared
from loadtest.profiles import ORDER, Load, Profile, ProfileError
from loadtest.run import LoadError
from serving.server import ServerError
from tsfd_client import TsfdError

_DAY = tuple(name for name in ORDER if name != "soak")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "profiles",
        nargs="*",
        metavar="PROFILE",
        help=f"{', '.join(ORDER)}; default: all but soak",
    )
    parser.add_argument(
        "--repository",
        type=Path,
        default=REPOSITORY,
        metavar="DIR",
        help="model repository to serve; default: model_repository",
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
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        help="processes of the load generator; default: %(default)s",
    )
    parser.add_argument("--config", type=Path, default=profiles.FILE, metavar="TOML")
    parser.add_argument("--out", type=Path, default=Path("build/loadtest"), metavar="DIR")
    arguments = parser.parse_args(argv)
    try:
        load = profiles.read(arguments.config)
        chosen = _chosen(load, arguments.profiles, own=not arguments.server)
        with prepared(
            load,
            arguments.out,
            repository=arguments.repository,
            server=arguments.server,
            bare=arguments.bare,
            processes=arguments.processes,
        ) as test:
            for profile in chosen:
                test.run(profile)
        checks = test.report()
    except (LoadError, ProfileError, ServerError, TsfdError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 1
    broken = [check for check in checks if not check.holds]
    for check in broken:
        print(f"loadtest: {check.profile}: {check}.", file=sys.stderr)
    print(f"{len(checks) - len(broken)} of {len(checks)} limits hold: {arguments.out}/report.html")
    return 1 if broken else 0


def _chosen(load: Load, names: list[str], *, own: bool) -> list[Profile]:
    """The profiles to run, including those whose results set the rates of others."""
    wanted = {*names} or {*_DAY} & {*load.profiles}
    unknown = wanted - {*load.profiles}
    if unknown:
        raise ProfileError(
            f"There is no profile {', '.join(sorted(unknown))}: choose from "
            f"{', '.join(load.profiles)}."
        )
    if any(load.profiles[name].of == "knee" for name in wanted):
        wanted |= {"steps"}
    stalls = {name for name in wanted if load.profiles[name].stall}
    if stalls and not own:
        print(f"loadtest: left out {', '.join(stalls)}, which needs a server of its own.")
        wanted -= stalls
    return [load.profiles[name] for name in ORDER if name in wanted]


if __name__ == "__main__":
    sys.exit(main())
