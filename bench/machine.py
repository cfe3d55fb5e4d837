"""The machine that figures were measured on."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

from conversion import nvidia


def machine() -> dict[str, str | int]:
    """Describe processor, usable cores and first visible GPU (or ``"none"``), with the UTC date."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": _gpu(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _gpu() -> str:
    return "none" if nvidia.obstacle() else nvidia.Driver().name()
