"""Properties of the host: its cores, and whether Triton is compatible with numpy.

All Python models contain a copy of this file, because a version folder must work on its own.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np


def cores(root: Path = Path("/")) -> int:
    """Count the CPUs that this process may use, by affinity and cgroup quota (rounded up).

    A container limited to 4 CPUs still sees all CPUs of its host.

    Parameters
    ----------
    root
        Folder that contains ``proc`` and ``sys``.
    """
    quotas = [
        _quota(group)
        for mount, path in _groups(root)
        for group in (mount / path, *(mount / above for above in path.parents))
    ]
    return max(1, math.ceil(min([len(os.sched_getaffinity(0)), *quotas])))


def refuse_corrupting_numpy() -> None:
    """Raise if Triton's backend is too old for this numpy: it would silently corrupt tensors."""
    import triton_python_backend_utils as pb_utils  # exists in Triton only

    probe = np.arange(6, dtype=np.int32).reshape(2, 3)
    capsule = pb_utils.Tensor("probe", probe).to_dlpack()
    # Only an array made by the backend itself shows the fault: its strides are zero.
    if not np.array_equal(pb_utils.Tensor.from_dlpack("probe", capsule).as_numpy(), probe):
        raise pb_utils.TritonModelException(
            f"this Triton's Python backend corrupts tensors under numpy {np.__version__}: install "
            "numpy 1.26 into its environment, or use a newer Triton."
        )


def _groups(root: Path) -> list[tuple[Path, Path]]:
    """Return the mounts of cgroups that limit CPUs, each with the path of this process's group.

    A container may see the path of its group on the host, which does not exist below its own mount;
    the limit is then set at the mount itself, one of the path's parents.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    mounts = root / "sys/fs/cgroup"
    groups = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            groups.append((mounts, Path(path).relative_to("/")))
        elif "cpu" in controllers.split(","):
            groups.append((mounts / "cpu", Path(path).relative_to("/")))
    return groups


def _quota(group: Path) -> float:
    """Return the CPUs that a cgroup may use; infinity if it sets no limit."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except OSError:
        try:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text()
        except OSError:
            return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)
