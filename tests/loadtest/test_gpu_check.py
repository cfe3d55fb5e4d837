"""All steps of `make gpu-check`, with the real server on the processor; small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest import gpu_check, profiles
from loadtest.gpu_check import Report, check

SHORT = """
[mix]
tile = 1.0
[steps]
of = "bare"
steps = [[0.3, 2]]
knee = 1000
limits = { failed = 0 }
[soak]
of = "knee"
steps = [[0.7, 3600]]
limits = { failed = 0 }
[generator]
limits = { lag_p99_ms = 1e6 }
"""


@pytest.mark.long
def test_every_step_passes_on_a_processor(repository: Path, tmp_path: Path) -> None:
    config = tmp_path / "load.toml"
    config.write_text(SHORT)
    report = Report("cpu")

    check(report, tmp_path, profiles.read(config), batches=(1, 2), seconds=0.3, minutes=0.05)
    report.write(tmp_path)

    found = json.loads((tmp_path / "report.json").read_text())
    assert found["failed"] is None
    assert [*found["steps"]] == [
        "find or build the engine, and check it",
        "start the server",
        "time the batches",
        "sustain the load",
    ]
    assert (found["engine"]["source"], found["engine"]["parity"]["failures"]) == ("built", [])
    assert found["engine"]["log"][0].startswith("engine: this host has OpenVINO ")
    assert "model.plan fits" in (tmp_path / "server.log").read_text()
    assert [(row["model"], row["batch"]) for row in found["rows"]] == [
        (model, batch) for model in ("tsfd_net", "nuclei_segmentation") for batch in (1, 2)
    ]
    assert 0 < found["rows"][-1]["postprocess_share"] < 1
    assert found["soak"]["broken"] == []
    assert found["soak"]["knee"] == pytest.approx(
        0.3 * found["rows"][-1]["patches_per_second"], 0.5
    )
    page = (tmp_path / "report.md").read_text()
    assert page.startswith("# CPU check, ")
    assert "| nuclei_segmentation | 2 | " in page
    assert "requests, 0 failed, " in page


@pytest.mark.long
def test_every_step_passes_in_the_image(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own entry point and user, as on a GPU host; needs podman, runc and buildah."""
    monkeypatch.setattr(gpu_check, "REPOSITORY", repository)
    config = tmp_path / "load.toml"
    config.write_text(SHORT)
    report = Report("image")

    check(report, tmp_path, profiles.read(config), batches=(1, 2), seconds=0.3, minutes=0.05)

    assert [*report.steps] == [
        "build the image",
        "find or build the engine, and check it",
        "start the server",
        "time the batches",
        "sustain the load",
    ]
    assert report.engine["plan"].startswith("/engines/")
    assert report.soak["broken"] == []


def test_the_step_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A GPU host without Docker; without a GPU there is none to build an image for either."""
    monkeypatch.setenv("PATH", "")

    code = gpu_check.main(["--out", str(tmp_path)])

    said = capsys.readouterr()
    assert code == 1
    assert said.err == (
        "gpu-check: build the image: [Errno 2] No such file or directory: 'docker'\n"
    )
    assert "# GPU check, " in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["failed"] == said.err[11:-1]
