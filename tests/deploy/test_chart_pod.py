"""The chart's pod, run by podman in the kubelet's place: `make chart-test`.

Podman takes the pod as helm makes it, but for its volumes: empty ones it would leave to root alone,
and on a disk. So they are folders of this machine, which anybody may write to, in memory where the
chart says so.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from podman import podman
from programs import until

from deploy.image.build import IMAGE
from samples import histology
from serving.environment import ROOT
from serving.server import TritonServer, choose_ports
from tsfd_client import Client, read_image

pytestmark = pytest.mark.long

_CHART = ROOT / "deploy/chart"
_POD = "tsfd-chart-test"


def test_it_finds_what_the_server_finds(
    pod: dict[int, int], server: TritonServer, repository: Path
) -> None:
    picture, _ = read_image(histology.path(), mpp=0.25)
    with Client(server.grpc_url) as client:
        wanted = client.segment(picture)
    with Client(f"127.0.0.1:{pod[8001]}") as client:
        found = client.segment(picture)
    assert len(found) > 100
    assert found.release == wanted.release
    np.testing.assert_array_equal(found.instance_map, wanted.instance_map)


def test_it_is_locked_down(pod: dict[int, int]) -> None:
    status = podman("exec", f"{_POD}-triton", "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.split("\n"))
    assert fields["Uid"].split() == ["1000"] * 4
    assert int(fields["CapBnd"], 16) == 0
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    for folder in ("/", "/models"):
        write = f"touch {folder}/x 2> /dev/null || echo refused"
        assert podman("exec", f"{_POD}-triton", "sh", "-c", write) == "refused"


def test_it_ends_by_itself(pod: dict[int, int]) -> None:
    grace = yaml.safe_load((_CHART / "values.yaml").read_text())["gracePeriodSeconds"]
    podman("stop", f"--time={grace}", f"{_POD}-triton")
    state = json.loads(podman("inspect", "--format={{json .State}}", f"{_POD}-triton"))
    assert state["ExitCode"] == 0


@pytest.fixture(scope="module")
def pod(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, int]]:
    """The running pod: the ports of this machine by those of the container."""
    for program in ("helm", "podman", "runc"):
        if not (shutil.which(program) or shutil.which(program, path="/usr/sbin")):
            pytest.fail(f"{program} is missing: deploy/README.md says how to get it.")
    folder = tmp_path_factory.mktemp("pod")
    with (
        tempfile.TemporaryDirectory(prefix="tsfd-pod-", dir="/dev/shm") as memory,
        pytest.MonkeyPatch.context() as patch,
    ):
        limits = folder / "containers.conf"
        limits.write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
        )
        patch.setenv("CONTAINERS_CONF", str(limits))
        spec = deployed()
        for volume in spec["volumes"]:
            place(volume, repository, folder, Path(memory))
        (triton,) = spec["containers"]
        names = {port["name"]: 0 for port in triton["ports"]}
        free = choose_ports("127.0.0.1", names)
        for port in triton["ports"]:
            port |= {"hostPort": free[port["name"]], "hostIP": "127.0.0.1"}
        manifest = folder / "pod.yaml"
        thing = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _POD}, "spec": spec}
        manifest.write_text(yaml.safe_dump(thing))
        try:
            podman("--runtime=runc", "play", "kube", str(manifest))
            until(lambda: is_healthy(free["health"]), 90)
            yield {port["containerPort"]: port["hostPort"] for port in triton["ports"]}
        finally:
            podman("--runtime=runc", "play", "kube", "--down", str(manifest))


def deployed() -> dict:
    """The spec of the pods of the chart on a CPU, with the image that is here."""
    repository, _, tag = IMAGE.rpartition(":")
    values = f"image.repository={repository},image.tag={tag},image.pullPolicy=Never"
    example = f"--values={_CHART / 'examples/cpu.yaml'}"
    command = ["helm", "template", "tsfd", str(_CHART), example, "--set", values]
    objects = yaml.safe_load_all(subprocess.check_output(command, text=True))
    (deployment,) = (thing for thing in objects if thing["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]


def place(volume: dict, repository: Path, folder: Path, memory: Path) -> None:
    """Turn a volume into a folder of this machine."""
    name = volume.pop("name")
    ((kind, options),) = volume.items()
    volume.clear()
    if kind == "persistentVolumeClaim":  # of the models
        path = repository
    else:
        path = (memory if options.get("medium") == "Memory" else folder) / name
        path.mkdir()
        path.chmod(0o777)
    volume |= {"name": name, "hostPath": {"path": str(path), "type": "Directory"}}


def is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
