"""Kernels are kept by what they are made of, and load where nothing can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serving.environment import ROOT

pytestmark = pytest.mark.slow
PACKAGE = ROOT / "model_repository/nuclei_postprocess/1/instances"


def python(folder: Path, script: str, **environment: str) -> str:
    """Output of a script in an interpreter that finds packages in a folder and writes nowhere.

    Folders that are read-only are so for it, even if it belongs to root.
    """
    command = [sys.executable, "-c", script]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override", *command]
    result = subprocess.run(
        command,
        env={"PYTHONPATH": str(folder), "HOME": "/proc", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def read_only(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A package of two kernels, one of which calls the other; returns the folder above it."""
    package = tmp_path / "site" / "instances"
    package.mkdir(parents=True)
    shutil.copy(PACKAGE / "compile.py", package)
    (package / "__init__.py").touch()
    kernel = "from instances.compile import kernel\n{}\n@kernel\ndef {}():\n    return {}\n"
    (package / "callee.py").write_text(kernel.format("", "one", "1"))
    (package / "caller.py").write_text(
        kernel.format("from instances.callee import one", "two", "one() + 1")
    )
    return package.parent


TWO = "from instances.caller import two; print(two(), sum(two.stats.cache_misses.values()))"


def test_a_kernel_is_compiled_once_until_a_callee_changes(toy: Path) -> None:
    assert python(toy, TWO) == "2 1\n"
    assert python(toy, TWO) == "2 0\n"
    callee = toy / "instances/callee.py"
    callee.write_text(callee.read_text().replace("return 1", "return 9"))
    assert python(toy, TWO) == "10 1\n"


def test_another_place_finds_the_same_kernels(toy: Path, tmp_path: Path) -> None:
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert python(toy, TWO, **cache) == "2 1\n"
    toy.rename(tmp_path / "moved")
    assert python(tmp_path / "moved", TWO, **cache) == "2 0\n"


@pytest.mark.parametrize("where", ["beside the package", "NUMBA_CACHE_DIR"])
def test_kernels_load_where_nothing_can_be_written(toy: Path, tmp_path: Path, where: str) -> None:
    (tmp_path / "cache").mkdir()
    read_only(tmp_path)
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")} if where == "NUMBA_CACHE_DIR" else {}
    assert python(toy, TWO, **cache) == "2 1\n"


def test_read_only_kernels_are_used(toy: Path, tmp_path: Path) -> None:
    before = {*Path("/dev/shm").iterdir()}
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert python(toy, TWO, **cache) == "2 1\n"
    read_only(tmp_path)
    assert python(toy, TWO, **cache) == "2 0\n"
    left = {*Path("/dev/shm").iterdir()} - before
    assert not [path for path in left if path.name.startswith("tsfd-kernels-")]
