"""Which profile a container serves: its driver says whether there is a GPU, here a small one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serving.environment import ROOT

DRIVER = """
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { return atoi(getenv("CODE")); }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, "NVIDIA L4", length); return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : 9; return 0;
}
"""
CONTAINER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
import serving.__main__ as serve
from serving import installation
installation._CONTAINER = Path(sys.executable)
"""
BARE = ("-I", "-S")  # a Python without packages, as NVIDIA's image has no openvino
REFUSED = (
    "This image needs an NVIDIA GPU, but {}: give the container one (docker run --gpus=all; on "
    "Kubernetes a limit of nvidia.com/gpu), or use the image for the CPU (deploy/README.md).\n"
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a ``libcuda`` whose cuInit returns what the variable CODE says."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("driver")
    command = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", str(folder / "libcuda.so.1")]
    subprocess.run(command, input=DRIVER, text=True, check=True)
    return folder


@pytest.fixture
def no_driver(tmp_path: Path) -> Path:
    """Folder of a ``libcuda`` that is none, before any of this machine's."""
    (tmp_path / "libcuda.so.1").touch()
    return tmp_path


def in_container(
    script: str, *options: str, driver: Path, code: int = 0, **more: str
) -> subprocess.CompletedProcess:
    """Run a script in a Python that takes itself for one in a container."""
    environment = os.environ | {"LD_LIBRARY_PATH": str(driver), "CODE": str(code)} | more
    return subprocess.run(
        [sys.executable, *options, "-c", CONTAINER + script, str(ROOT)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


PROFILE = "found = installation.find(); print(found.has_gpu, found.artefact, *found.command[1:])"
SERVE = "sys.exit(serve.main([]))"


def test_any_gpu_that_the_driver_shows_is_served_on(driver: Path) -> None:
    """Whatever its device file is called; there is none here."""
    result = in_container(PROFILE, *BARE, driver=driver)

    assert (result.stderr, result.stdout) == ("", "True tsfd_net/1/model.plan\n")


def test_the_image_for_the_cpu_serves_its_profile_without_a_driver(no_driver: Path) -> None:
    result = in_container(PROFILE, driver=no_driver)

    assert result.stdout.startswith("False tsfd_net/1/model.onnx --model-config-name=cpu")


@pytest.mark.parametrize(
    ("code", "variables", "reason"),
    [
        (100, {}, "CUDA shows none here"),
        (
            100,
            {"CUDA_VISIBLE_DEVICES": "-1"},
            "CUDA shows none here (CUDA_VISIBLE_DEVICES is '-1')",
        ),
        (803, {}, "the NVIDIA driver refuses cuInit (CUDA error 803)"),
    ],
)
def test_the_image_for_gpus_refuses_to_start_without_one(
    code: int,
    variables: dict[str, str],
    reason: str,
    driver: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    result = in_container(SERVE, *BARE, driver=driver, code=code, **variables)

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == REFUSED.format(reason)


def test_the_image_for_gpus_refuses_to_start_without_a_driver(no_driver: Path) -> None:
    result = in_container(SERVE, *BARE, driver=no_driver)

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == REFUSED.format("there is no driver (libcuda.so.1) here")


def test_an_engine_is_for_the_gpu_that_cuda_shows_first(driver: Path) -> None:
    """Which nvidia-smi need not name first: it does not heed CUDA_VISIBLE_DEVICES."""
    script = "from conversion.tensorrt_engine import gpu; print(gpu())"
    result = in_container(script, driver=driver)

    assert result.stdout == "Gpu(name='NVIDIA L4', compute_capability='8.9')\n", result.stderr


def test_a_figure_names_the_gpu_that_cuda_shows_first(driver: Path) -> None:
    script = "from bench.machine import machine; print(machine()['gpu'])"

    assert in_container(script, driver=driver).stdout == "NVIDIA L4\n"
    assert in_container(script, driver=driver, code=100).stdout == "none\n"
