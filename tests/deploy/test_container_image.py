"""The image as it is run in production, on the CPU: `make image-test`, after `make image`.

It runs as uid 1000 without capabilities, on a root that is read-only, with 256 MB of shared memory.
Every test goes on with the container of the one before.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from podman import CONFINED, need_image, podman
from programs import until

from deploy.image.build import IMAGE
from samples import histology
from samples.slide import write_slide
from serving.server import TritonServer
from tsfd_client import Client, read_image

pytestmark = pytest.mark.long

_RUN = ["run", "--detach", "--shm-size=256m", *CONFINED]
_HEALTH, _GRPC = 8003, 8001


class Container:
    """The running image; its ports are free ones of this machine."""

    def __init__(self, repository: Path) -> None:
        ports = [f"--publish=127.0.0.1::{port}" for port in (_GRPC, _HEALTH)]
        self.name = podman(*_RUN, *ports, f"--volume={repository}:/models:ro", IMAGE)
        self.url = podman("port", self.name, str(_GRPC))
        self._health = f"http://{podman('port', self.name, str(_HEALTH))}/health"

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(self._health, timeout=5) as answer:
                return answer.status == 200
        except OSError:  # 503 is one, too
            return False

    def inside(self, script: str) -> str:
        """Output of a shell's script in the container."""
        return podman("exec", self.name, "sh", "-c", script)

    def processes(self) -> list[psutil.Process]:
        """Those below the supervisor, as this machine sees them."""
        return psutil.Process(self.state("Pid")).children(recursive=True)

    def state(self, name: str) -> int:
        return json.loads(podman("inspect", "--format={{json .State}}", self.name))[name]


@pytest.fixture(scope="module")
def container(repository: Path) -> Iterator[Container]:
    for program in ("podman", "runc"):
        if not (shutil.which(program) or shutil.which(program, path="/usr/sbin")):
            pytest.fail(f"{program} is missing: apt-get install {program}")
    need_image(IMAGE)
    began = time.monotonic()
    running = Container(repository)
    try:
        until(running.is_up, 90)
        print(f"\nhealthy {time.monotonic() - began:.1f} s after its start")
        yield running
    finally:
        podman("rm", "--force", "--time=0", running.name)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return read_image(histology.path(), mpp=0.25)[0]


def test_it_is_locked_down(container: Container) -> None:
    status = dict(
        line.split(":\t", 1) for line in container.inside("cat /proc/1/status").split("\n")
    )
    assert status["Uid"].split() == status["Gid"].split() == ["1000"] * 4
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert container.inside("touch /opt/tsfd/x || echo refused") == "refused"


def test_no_kernel_was_compiled(container: Container) -> None:
    """Its own are used, from a copy in memory: numba loads none from where it cannot write."""
    baked = container.inside("cd /opt/tsfd/kernels-*; sha256sum *")
    assert "watershed" in baked
    assert container.inside("cd /dev/shm/tsfd-kernels-*; sha256sum *") == baked


def test_its_health_check(container: Container) -> None:
    podman("healthcheck", "run", container.name)


def test_the_demo_image(container: Container, server: TritonServer, picture: np.ndarray) -> None:
    with Client(server.grpc_url) as client:
        wanted = client.segment(picture)
    with Client(container.url) as client:
        client.check()
        found = client.segment(picture)
    assert len(found) > 100
    assert found.release == wanted.release
    np.testing.assert_array_equal(found.instance_map, wanted.instance_map)
    np.testing.assert_array_equal(found.classes, wanted.classes)


def test_a_backend_is_killed_in_the_middle_of_a_slide(
    container: Container, server: TritonServer, picture: np.ndarray, tmp_path: Path
) -> None:
    slide = tmp_path / "disc.tif"
    write_slide(slide, picture, side=4096, mm2=0.3)

    def segment(url: str, out: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "tsfd_client.cli", "segment", str(slide)]
        command += [f"--out={tmp_path / out}", f"--server={url}"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    disturbed = segment(container.url, "container")
    until(lambda: [*tmp_path.glob("container/disc/blocks/*.parquet")], 90)
    assert disturbed.poll() is None
    (backend,) = (p for p in container.processes() if "nuclei_postprocess_" in str(p.cmdline()))
    backend.kill()
    seconds = until(lambda: not container.is_up(), 90) + until(container.is_up, 90)
    print(f"\nhealthy again {seconds:.1f} s after a backend was killed")
    for client in (disturbed, segment(server.grpc_url, "embedded")):
        _, errors = client.communicate(timeout=120)
        assert client.returncode == 0, errors
    found, wanted = (
        (tmp_path / name / "disc/nuclei.parquet").read_bytes() for name in ("container", "embedded")
    )
    assert found == wanted
    # What the dead backends had is gone.
    assert psutil.STATUS_ZOMBIE not in {process.status() for process in container.processes()}
    assert container.inside("ls /dev/shm | cut -d_ -f1 | cut -d- -f1,2 | sort") == (
        "tsfd\ntsfd\ntsfd-kernels"
    )


def test_sigterm_drains(container: Container, patches: np.ndarray) -> None:
    with Client(container.url, retry_for=0) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.segment_tiles, patches)
        time.sleep(0.3)
        began = time.monotonic()
        podman("stop", "--time=45", container.name)
        seconds = time.monotonic() - began
        print(f"\nended {seconds:.1f} s after SIGTERM, {len(patches)} patches under way")
        assert len(answer.result()) == len(patches)
    assert container.state("ExitCode") == 0
