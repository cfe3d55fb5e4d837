"""The knee by NVIDIA's Perf Analyzer, beside ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest import perf_analyzer
from loadtest.load_test import prepared
from loadtest.perf_analyzer import PerfAnalyzerError, compare
from loadtest.profiles import Load, Profile
from serving.server import TritonServer

STEPS = Profile("steps", limits={}, steps=[[0.2, 3], [0.3, 3]], knee=1000)


def test_a_missing_tool_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_analyzer, "ENVIRONMENT", tmp_path)
    with pytest.raises(
        PerfAnalyzerError, match=r"^it is not installed; run `make perf-analyzer`\.$"
    ):
        perf_analyzer.perf_analyzer("localhost:9", [1.0, 2.0], STEPS)


@pytest.mark.long
def test_both_tools_offer_the_same_rates(
    server: TritonServer, repository: Path, tmp_path: Path
) -> None:
    if not (perf_analyzer.ENVIRONMENT / "bin/perf_analyzer").exists():
        pytest.skip("Perf Analyzer comes with `make perf-analyzer`")
    load = Load({"tile": 1.0}, {"steps": STEPS}, 1e6)
    with prepared(load, tmp_path, repository=repository, server=server.grpc_url, bare=20.0) as test:
        found = compare(test, load.profiles["steps"])
    for name in ("ours", "perf_analyzer"):
        assert [step["offered"] for step in found[name]] == pytest.approx([4, 6], rel=0.01)
        assert all(step["answered"] > 0 and step["p95_ms"] > 0 for step in found[name])
    assert found["knee_ours"] == pytest.approx(6)
    assert found["knee_perf_analyzer"] == pytest.approx(6)
