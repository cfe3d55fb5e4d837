"""A short run of the load test against the real server, and its judgement."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.server import TritonServer
from loadtest.__main__ import judge, main, run_locust


def test_short_run_has_no_wrong_answers(server: TritonServer, tmp_path: Path) -> None:
    result = run_locust(server.grpc_url, users=2, batch=2, seconds=8, out=tmp_path)

    assert result["failures"] == 0
    assert result["requests"] > 0
    assert result["patches_per_second"] > 0
    assert "segment 2 patches" in (tmp_path / "report.html").read_text()


def test_no_server_fails(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--server", "localhost:9", "--seconds", "2", "--out", str(tmp_path)])

    assert code == 1
    assert "No request was answered" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("result", "sentences"),
    [
        ({"requests": 50, "failures": 0, "patches_per_second": 9.1}, 0),
        ({"requests": 50, "failures": 2, "patches_per_second": 9.1}, 1),
        ({"requests": 50, "failures": 2, "patches_per_second": 8.9}, 2),
    ],
)
def test_thresholds(result: dict[str, float], sentences: int) -> None:
    assert len(judge(result, 9.0)) == sentences
