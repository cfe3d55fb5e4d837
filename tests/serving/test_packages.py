"""Packages are installed by uv or by pip, and what cannot be installed is one line."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from serving.environment import ROOT
from serving.packages import PackagesError, install

UV = """#!/bin/sh
echo "error: Failed to fetch" >&2
echo "  cause: no route to host" >&2
exit 2
"""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package of one module."""
    path = tmp_path / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("toy.py", "")
        file.writestr(
            "toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0"
        )
        file.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any")
        file.writestr("toy-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python with pip, beside a uv that reaches nothing."""
    programs = {"uv": UV, "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n'}
    for name, script in programs.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))


@pytest.mark.usefixtures("without_network")
def test_pip_installs_what_uv_cannot(
    wheel: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    venv.create(tmp_path / "env")  # without a pip of its own

    install(tmp_path / "env", "--no-index", wheel)

    assert list((tmp_path / "env").rglob("toy.py"))
    said = f"pip installed --no-index {wheel} (uv failed: no route to host).\n"
    assert capfd.readouterr() == (said, "")


@pytest.mark.usefixtures("without_network")
def test_what_neither_can_install_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    venv.create(tmp_path / "env")

    with pytest.raises(PackagesError, match=r"^No matching distribution found for toy$"):
        install(tmp_path / "env", "--no-index", "toy")

    assert capfd.readouterr() == ("", "")


def test_the_command_fails_in_one_line() -> None:
    command = [sys.executable, "-m", "serving.packages", "--no-index", "no-such-toy"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("The packages could not be installed: ")
    assert result.stderr.count("\n") == 1
