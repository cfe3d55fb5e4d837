"""The image for GPU hosts: one release of NVIDIA's everywhere, and kernels compiled in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.setup import ROOT

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()


def test_one_release_everywhere() -> None:
    release = re.search(r"^ARG RELEASE=(\S+)$", DOCKERFILE, re.MULTILINE)[1]
    assert release >= "26.06"  # those before have known holes
    named = {
        (str(path.relative_to(ROOT)), name)
        for pattern in ("*.md", "*/*.md", "*/*.py", "*/Dockerfile", "Makefile")
        for path in ROOT.glob(pattern)
        for name in re.findall(r"nvcr\.io/nvidia/\w+:(\d\d\.\d\d)", path.read_text())
    }
    assert {name for _, name in named} == {release}, named


def test_its_packages_are_those_that_are_tested() -> None:
    tested = (ROOT / "constraints.txt").read_text().splitlines()
    packages = (ROOT / "deploy/backend-requirements.txt").read_text().splitlines()
    assert {line for line in packages if not line.startswith("#")} <= {*tested}


@pytest.mark.slow
def test_its_kernels_are_compiled_for_any_processor(tmp_path: Path) -> None:
    """The build's own command, in this Python, leaves nothing to compile for a container."""
    settings = dict(re.findall(r"(NUMBA_\w+)=(\S+)", DOCKERFILE))
    assert settings["NUMBA_CPU_NAME"] == "generic"
    environment = os.environ | settings | {"NUMBA_CACHE_DIR": str(tmp_path)}
    (script,) = re.findall(r'cd /build && python3 -c "(.*)"$', DOCKERFILE, re.MULTILINE)
    source = ROOT / "model_repository/nuclei_postprocess/1"
    build = [sys.executable, "-c", script]
    subprocess.run(build, cwd=source, env=environment, check=True)
    misses = "; from instances import watershed as w; print(w._watershed.stats.cache_misses)"
    container = [sys.executable, "-c", script + misses]
    result = subprocess.run(
        container, cwd=source, env=environment, check=True, capture_output=True, text=True
    )
    assert result.stdout == "Counter()\n"
