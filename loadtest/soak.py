"""Run an hour of load at 70 % of the knee: ``python -m loadtest.soak``, `make soak`.

Finds the knee first, then sustains the load for an hour and samples the resources that the
processes of the server and the clients use. Writes ``report.html``, ``summary.json``, ``soak.json``
and a picture, and with ``--document`` the table of trends into a document. The exit code is 0 only
if every limit holds and nothing grows.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from loadtest import profiles
from loadtest.judge import Result
from loadtest.load_test import prepared
from loadtest.profiles import ProfileError
from loadtest.resources import Resources, Trend
from loadtest.run import LoadError
from serving.server import ServerError
from tsfd_client import TsfdError

_MARKS = re.compile(r"(<!-- soak -->\n).*?(<!-- end -->)", re.DOTALL)


def table(found: Result, trends: list[Trend], machine: dict[str, object]) -> str:
    """Return the results of a soak as Markdown."""
    figures = found.figures
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}: "
        f"{found.seconds / 3600:.2f} h, {figures.requests:,} requests, "
        f"{sum(figures.failures.values())} failed, {figures.answered:.1f} patches per second, "
        f"p50 {1000 * figures.latency['p50']:.0f} ms, p99 {1000 * figures.latency['p99']:.0f} ms.",
    ]
    if trends:
        lines += ["", "| | mean | change per hour | 95 % |", "|---|---|---|---|"]
    for t in trends:
        unit = f" {t.unit}" if t.unit else ""
        slope, low, high = (round(x, 2) + 0.0 for x in (t.slope, t.low, t.high))  # no -0
        lines.append(
            f"| {t.name} | {t.mean:,.1f}{unit} | {slope:+.2f} | {low:+.2f} to {high:+.2f} |"
        )
    return "\n".join(lines) + "\n"


def plot(resources: Resources, path: Path) -> None:
    """Plot every quantity over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    minutes = (np.array(resources.times) - resources.times[0]) / 60
    parts = figure.subplots(3, 1, sharex=True)
    for axes, kind in zip(parts, ("memory", "threads", "descriptors"), strict=True):
        for name, values in resources.samples.items():
            if name.endswith(kind):
                label = name.removesuffix(f": {kind}")
                axes.plot(minutes[len(minutes) - len(values) :], values, label=label)
        axes.set(ylabel="MB" if kind == "memory" else kind)
        axes.set_ylim(0, None)
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    parts[-1].set(xlabel="minutes")
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=60, help="default: %(default)g")
    parser.add_argument(
        "--document", type=Path, metavar="FILE", help="document that receives the table of trends"
    )
    parser.add_argument("--out", type=Path, default=Path("build/soak"), metavar="DIR")
    arguments = parser.parse_args(argv)
    try:
        load = profiles.read()
        soak = load.profiles["soak"]
        ((rate, _),) = soak.steps
        with prepared(load, arguments.out) as test:
            test.run(load.profiles["steps"])
            with Resources(test.target.pid) as resources:
                test.run(replace(soak, steps=[[rate, 60 * arguments.minutes]]))
        checks = test.report()
    except (LoadError, ProfileError, ServerError, TsfdError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    trends = resources.trends()
    summary = {"trends": [asdict(t) for t in trends], "checks": [asdict(c) for c in checks]}
    (arguments.out / "soak.json").write_text(json.dumps(summary, indent=2) + "\n")
    plot(resources, arguments.out / "soak.png")
    text = table(test.results[-1], trends, test.machine)
    print(text)
    if arguments.document:
        page = arguments.document.read_text()
        arguments.document.write_text(_MARKS.sub(lambda m: m[1] + text + m[2], page))
    broken = [f"{t.name} grows by {t.slope:.2f} {t.unit} per hour" for t in trends if t.grows]
    broken += [f"{check.profile}: {check}" for check in checks if not check.holds]
    for sentence in broken:
        print(f"soak: {sentence}.", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
