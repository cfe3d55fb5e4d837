"""The report of a load test: one self-contained HTML file, and ``summary.json``."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import jinja2
import numpy as np

from loadtest.judge import PERCENTILES, Check, Result
from loadtest.server_times import Reading

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_COLOURS = {"offered": "#888888", "answered": "#0072b2", "p50": "#56b4e9", "p99": "#d55e00"}


@dataclass(frozen=True)
class Report:
    """The results of a load test.

    Attributes
    ----------
    machine
        The machine that it ran on.
    server, release
        The server and the release it serves.
    bare
        Patches per second of the bare runtime before, between and after the profiles.
    knee
        Highest rate, in patches per second, that is answered in time; None if not measured.
    results, times
        Results of the profiles, and the server's times during each.
    checks
        The limits, checked.
    """

    machine: dict[str, object]
    server: str
    release: str
    bare: list[float]
    knee: float | None
    results: Sequence[Result]
    times: Sequence[list[Reading]]
    checks: Sequence[Check]

    def write(self, out: Path) -> None:
        """Write ``report.html`` and ``summary.json`` into a folder."""
        page = _PAGES.get_template("report.html").render(
            report=self,
            percentiles=[f"p{p:g}" for p in PERCENTILES],
            charts=[_timeline(r, t) for r, t in zip(self.results, self.times, strict=True)],
            knee=[_steps(r, self) for r in self.results if r.profile.knee],
        )
        (out / "report.html").write_text(page)
        summary = {
            "machine": self.machine,
            "server": self.server,
            "release": self.release,
            "bare_patches_per_second": self.bare,
            "knee_patches_per_second": self.knee,
            "profiles": {
                r.profile.name: asdict(r.figures)
                | {"steps": [{"rate": rate} | asdict(figures) for rate, figures in r.steps]}
                for r in self.results
            },
            "checks": [asdict(check) for check in self.checks],
        }
        (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")


def _steps(result: Result, report: Report) -> str:
    """Plot answered rate and latency against offered rate, with the knee, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    rates, latencies = figure.subplots(1, 2)
    offered = [figures.offered for _, figures in result.steps]
    rates.plot(offered, offered, "--", color=_COLOURS["offered"], label="offered")
    answered = [figures.answered for _, figures in result.steps]
    rates.plot(offered, answered, "o-", color=_COLOURS["answered"], label="answered")
    rates.set(xlabel="offered patches per second", ylabel="patches per second")
    for name in ("p50", "p95", "p99"):
        times = [1000 * figures.latency[name] for _, figures in result.steps]
        latencies.plot(offered, times, "o-", label=name)
    latencies.set(xlabel="offered patches per second", ylabel="latency in ms", yscale="log")
    for axes in (rates, latencies):
        if report.knee:
            axes.axvline(report.knee, color="black", ls=":", label="knee")
        axes.axvline(float(np.median(report.bare)), color="grey", lw=0.8, label="bare runtime")
        axes.legend(fontsize="small")
    return _svg(figure)


def _timeline(result: Result, times: list[Reading]) -> str:
    """Plot rates (above), latency, the generator's lag and the server's times (below) as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    rates, latencies = figure.subplots(2, 1, sharex=True)
    width = max(1.0, result.seconds / 120)
    edges = np.arange(0, result.seconds + width, width)
    records = result.records
    sent, done = records.intended - result.begin, records.done - result.begin
    patches, answered = records.patches, records.is_answered
    offered = np.histogram(sent, edges, weights=patches)[0] / width
    got = np.histogram(done[answered], edges, weights=patches[answered])[0] / width
    rates.step(edges[:-1], offered, where="post", color=_COLOURS["offered"], label="offered")
    rates.step(edges[:-1], got, where="post", color=_COLOURS["answered"], label="answered")
    if not answered.all():
        failed = np.histogram(sent[~answered], edges, weights=patches[~answered])[0] / width
        rates.step(edges[:-1], failed, where="post", color=_COLOURS["p99"], label="failed")
    rates.set(ylabel="patches per second")
    rates.set_ylim(0, None)
    place = np.digitize(sent, edges) - 1
    for percent in (50, 99):
        line = [
            1000 * records[place == i].percentile(percent) if answered[place == i].any() else np.nan
            for i in range(len(edges) - 1)
        ]
        name = f"p{percent}"
        latencies.plot(edges[:-1] + width / 2, line, ".-", color=_COLOURS[name], label=name)
    lag = [
        1000 * records.lag[place == i].max() if np.any(place == i) else np.nan
        for i in range(len(edges) - 1)
    ]
    latencies.plot(edges[:-1] + width / 2, lag, color="black", lw=0.8, label="generator's lag")
    at = [reading.at - result.begin for reading in times]
    latencies.plot(at, [r.queue_ms for r in times], ":", color="#009e73", label="server: queue")
    latencies.plot(at, [r.compute_ms for r in times], ":", color="#cc79a7", label="server: compute")
    latencies.set(xlabel="seconds", ylabel="ms", yscale="symlog")
    latencies.set_ylim(0, None)
    latencies.set_xlim(0, max(result.seconds, float(done.max())))
    for axes in (rates, latencies):
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return _svg(figure)


def _svg(figure: object) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]
