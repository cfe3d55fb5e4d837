"""Draw the dashboard's panels without Grafana: ``python -m deploy.monitoring.panels``.

Asks a running Prometheus for the queries of ``dashboard.json`` over the last hours.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Final

DASHBOARD: Final = Path(__file__).with_name("dashboard.json")
_COLUMNS: Final = 2
_POINTS: Final = 200


def series(prometheus: str, query: str, hours: float) -> list[dict]:
    """A query's results over the last hours, as Prometheus gives them.

    Raises
    ------
    urllib.error.URLError
        If Prometheus does not answer, or refuses the query.
    """
    end = time.time()
    step = max(1.0, hours * 3600 / _POINTS)
    values = {"query": query, "start": end - hours * 3600, "end": end, "step": step}
    url = f"{prometheus}/api/v1/query_range?{urllib.parse.urlencode(values)}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def label(pattern: str, labels: dict[str, str]) -> str:
    """Fill Grafana's legend, such as ``{{server}}: {{model}}``."""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), pattern)


def draw(prometheus: str, path: Path, hours: float) -> None:
    """Write a picture of all panels."""
    from matplotlib.figure import Figure

    panels = json.loads(DASHBOARD.read_text())["panels"]
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(14, 2.6 * rows), layout="constrained")
    for axes, panel in zip(figure.subplots(rows, _COLUMNS).flat, panels, strict=False):
        for target in panel["targets"]:
            for found in series(prometheus, target["expr"], hours):
                times, values = zip(*found["values"], strict=True)
                minutes = [(float(t) - time.time()) / 60 for t in times]
                name = label(target["legendFormat"], found["metric"])
                axes.plot(minutes, [float(v) for v in values], label=name)
        unit = panel["fieldConfig"]["defaults"]["unit"]
        axes.set_title(f"{panel['title']} ({unit})" if unit != "short" else panel["title"])
        axes.set_ylim(bottom=0)
        axes.set_xlim(-60 * hours, 0)
        axes.legend(fontsize="x-small", loc="upper left")
    figure.supxlabel("minutes")
    figure.savefig(path, dpi=100)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.monitoring.panels", description="Draw the dashboard's panels."
    )
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--hours", type=float, default=6)
    parser.add_argument("--out", type=Path, default=Path("build/panels.png"), metavar="PNG")
    arguments = parser.parse_args(argv)
    try:
        draw(arguments.prometheus, arguments.out, arguments.hours)
    except (OSError, urllib.error.URLError) as error:
        print(f"panels: {arguments.prometheus} cannot be asked: {error}", file=sys.stderr)
        return 1
    print(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
