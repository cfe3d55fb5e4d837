"""The private environment: found when finished, refused where it cannot work."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from serving import environment
from serving.environment import SetupError, create_environment, find_environment


def test_the_environment_is_there_and_agrees_with_its_pins() -> None:
    environment = create_environment()  # finds the stamp of `make setup`
    assert environment == find_environment()
    assert (environment.triton / "backends/python/triton_python_backend_stub").is_file()
    packages = environment.triton.parents[1]
    assert (packages / "numpy-1.26.4.dist-info").is_dir()


def test_a_half_made_environment_is_not_taken(tmp_path: Path) -> None:
    assert find_environment(tmp_path) is None
    (tmp_path / "stamp.json").write_text("{")
    assert find_environment(tmp_path) is None
    stamp = json.loads((environment.ENVIRONMENT / "stamp.json").read_text())
    (tmp_path / "stamp.json").write_text(json.dumps(stamp | {"path": str(tmp_path)}))
    assert find_environment(tmp_path) is None  # a stamp without a server


def test_changed_pins_make_it_outdated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = tmp_path / "requirements.txt"
    shutil.copy(environment.REQUIREMENTS, pins)
    monkeypatch.setattr(environment, "REQUIREMENTS", pins)
    assert find_environment() is not None
    pins.write_text(pins.read_text() + "\n# another day\n")
    assert find_environment() is None


def test_the_command_says_what_is_ready_and_nothing_else() -> None:
    command = [sys.executable, "-m", "serving.environment"]
    result = subprocess.run(
        command, cwd=environment.ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout == f"Triton server ready in {environment.ENVIRONMENT}\n"
    assert result.stderr == ""


@pytest.mark.slow
def test_packages_that_cannot_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text("/nowhere/numpy.whl\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", pins)
    with pytest.raises(SetupError) as caught:
        create_environment(tmp_path / "env")
    said = str(caught.value)
    assert said.startswith("The packages of requirements.txt could not be installed: ")
    assert "numpy.whl" in said or "'numpy'" in said  # by uv or by pip
    assert "\n" not in said
    assert capfd.readouterr() == ("", "")  # what else pip says is noise
    assert find_environment(tmp_path / "env") is None


def refused(path: Path) -> str:
    with pytest.raises(SetupError) as caught:
        create_environment(path)
    assert not path.exists()
    return str(caught.value)


def test_other_platforms_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert refused(tmp_path / "env") == (
        "The embedded Triton server runs on Linux x86_64 only, not on Linux aarch64: use NVIDIA's "
        "container (deploy/README.md)."
    )


def test_an_old_c_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.31"))
    assert refused(tmp_path / "env") == (
        "The embedded Triton server needs glibc 2.35 or newer, but this machine has glibc 2.31: "
        "use NVIDIA's container (deploy/README.md)."
    )


def test_other_python_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    monkeypatch.setattr(platform, "python_version", lambda: "3.13.0")
    assert refused(tmp_path / "env") == (
        "The embedded Triton server's Python backend needs CPython 3.11 or 3.12 (numpy 1.26 has "
        "no wheels for others), not CPython 3.13.0: create the environment with one of those."
    )


def test_a_missing_libpython_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: str(tmp_path))
    minor = sys.version_info.minor
    assert refused(tmp_path / "env") == (
        f"libpython3.{minor}.so.1.0 is not in {tmp_path}, and Triton's Python backend cannot start "
        f"without it: install it (Debian and Ubuntu: libpython3.{minor}) or use a Python built "
        "with --enable-shared."
    )
