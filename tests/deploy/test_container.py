"""What the image is made of: one release of NVIDIA's everywhere, and kernels compiled in it.

How it runs: test_container_image.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving.environment import ROOT

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()


def arguments(instruction: str) -> list[str]:
    """Of an instruction of the Dockerfile, wherever it stands."""
    unbroken = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{instruction} +(.+)$", unbroken, re.MULTILINE)


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


def test_it_is_nvidia_s_unless_a_build_says_otherwise() -> None:
    assert "BASE=nvcr.io/nvidia/tritonserver" in arguments("ARG")
    assert arguments("FROM")[-1] == "${BASE}:${RELEASE}-py3"


def test_nobody_is_root_in_it() -> None:
    """By number, as Kubernetes' runAsNonRoot wants it; what is installed before is root's."""
    assert arguments("USER") == ["1000:1000"]
    installed, _, served = DOCKERFILE.partition("USER")
    assert not re.search("^(RUN|COPY)", served, re.MULTILINE)
    assert "pip install" in installed


def test_its_entry_point_is_the_supervisor() -> None:
    assert [json.loads(words) for words in arguments("ENTRYPOINT")] == [
        ["python3", "-m", "serving"]
    ]
    (check,) = arguments("HEALTHCHECK")
    assert "http://127.0.0.1:8003/health" in check  # that of patches, not Triton's own


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
    (script,) = re.findall(r'PYTHONPATH=/build python3 -c "(.*)"$', DOCKERFILE, re.MULTILINE)
    source = ROOT / "model_repository/nuclei_postprocess/1"
    build = [sys.executable, "-c", script]
    subprocess.run(build, cwd=source, env=environment, check=True)
    misses = "; from instances.watershed import watershed as w; print(w.stats.cache_misses)"
    container = [sys.executable, "-c", script + misses]
    result = subprocess.run(
        container, cwd=source, env=environment, check=True, capture_output=True, text=True
    )
    assert result.stdout == "Counter()\n"


def test_its_build_names_a_missing_program() -> None:
    command = [sys.executable, "-m", "deploy.image.build"]
    result = subprocess.run(
        command, cwd=ROOT, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "mmdebstrap is missing: apt-get install mmdebstrap\n"


def test_its_supervisor_needs_no_package() -> None:
    """The container's Python has none of the project's, and of the project what is copied."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import serving.__main__; "
        "print(*(sys.modules[name].__file__ for name in sys.modules if name.startswith('serving')))"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    imported = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    (copied,) = (words.split()[:-1] for words in arguments("COPY") if "/tsfd/serving/" in words)
    assert {ROOT / name for name in copied} == {Path(name) for name in imported}
