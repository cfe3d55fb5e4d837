"""How many CPUs a model takes: its affinity's, or fewer by what the container may use."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from serving.environment import ROOT


@pytest.fixture(scope="module")
def host() -> object:
    spec = importlib.util.spec_from_file_location(
        "host", ROOT / "model_repository/tsfd_net/1/host.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


POD = "kubepods.slice/kubepods-pod1f2e.slice"
VERSION_1 = (
    "12:memory:{0}\n5:cpu,cpuacct:{0}\n1:name=systemd:{0}\n0::/system.slice/containerd.service\n"
)
MACHINES = {
    "bare machine, version 2": ("0::/user.slice/session-3.scope\n", {}, 96),
    "container, version 2": ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
    "unlimited container, version 2": ("0::/\n", {"cpu.max": "max 100000\n"}, 96),
    "a part of a CPU": ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
    "less than a CPU": ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
    "the pod has less than the container": (
        f"0::/{POD}/cri-containerd-ab12.scope\n",
        {
            f"{POD}/cri-containerd-ab12.scope/cpu.max": "max 100000\n",
            f"{POD}/cpu.max": "800000 100000\n",
            "kubepods.slice/cpu.max": "9400000 100000\n",
        },
        8,
    ),
    "container, version 1, under its host's path": (
        VERSION_1.format("/docker/3f1c"),
        {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        4,
    ),
    "service, version 1": (
        VERSION_1.format("/system.slice/triton.service"),
        {
            "cpu/cpu.cfs_quota_us": "-1\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "cpu/system.slice/triton.service/cpu.cfs_quota_us": "75000\n",
            "cpu/system.slice/triton.service/cpu.cfs_period_us": "25000\n",
        },
        3,
    ),
    "unlimited, version 1": (
        VERSION_1.format("/"),
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        96,
    ),
    "no cgroups": (None, {}, 96),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_cores(host: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(96)))
    groups, limits, cores = MACHINES[machine]
    files = {f"sys/fs/cgroup/{name}": content for name, content in limits.items()}
    if groups is not None:
        files["proc/self/cgroup"] = groups
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert host.cores(tmp_path) == cores


def test_a_quota_never_adds_cores(
    host: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5})
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("1600000 100000\n")
    assert host.cores(tmp_path) == 2


def test_here(host: object) -> None:
    assert 1 <= host.cores() <= len(os.sched_getaffinity(0))
