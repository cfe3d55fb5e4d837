"""What an engine is built and run on, and whether that is supported (``supported.toml``)."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from conversion.sidecar import Gpu

TABLE = Path(__file__).with_name("supported.toml")


@dataclass(frozen=True)
class Host:
    """What builds and runs engines.

    Attributes
    ----------
    runtime, version
        ``"TensorRT"`` or ``"OpenVINO"``, and its version.
    gpu
        What it computes on; the processor where there is no GPU.
    driver
        Version of the NVIDIA driver; None where there is none.
    """

    runtime: str
    version: str
    gpu: Gpu
    driver: str | None = None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The host that `to_json` wrote."""
        found = json.loads(text)
        return cls(**found | {"gpu": Gpu(**found["gpu"])})

    def to_json(self) -> str:
        """One line that `from_json` reads."""
        return json.dumps(asdict(self))

    def line(self) -> str:
        """One line for the log."""
        driver = f", driver {self.driver}" if self.driver else ""
        return f"{self.runtime} {self.version}, {self.gpu.name}{driver}"


def refusal(host: Host, triton: str | None) -> str | None:
    """Say in one sentence why engines are not built and served on `host`, or return None.

    Parameters
    ----------
    triton
        Version of the server; None where it is not known, which refuses nothing.
    """
    row = tomllib.loads(TABLE.read_text())[host.runtime]
    asked = {host.runtime: (host.version, row["versions"])}
    if triton is not None:
        asked["Triton"] = (triton, row["triton"])
    for name, (found, supported) in asked.items():
        if not any(f"{found}.".startswith(f"{version}.") for version in supported):
            return f"{name} {found} is not supported: {_use(supported)}."
    if host.driver is None:
        return None
    newer = f"{row['driver']} or newer"
    if int(host.driver.partition(".")[0]) < row["driver"]:
        return f"The NVIDIA driver {host.driver} is too old: {_use([newer])}."
    if host.gpu.compute_capability not in row["compute_capabilities"]:
        return (
            f"{host.gpu.name} (compute capability {host.gpu.compute_capability}) is not supported: "
            f"{_use(row['compute_capabilities'])}."
        )
    return None


def _use(supported: list[str]) -> str:
    return f"use {' or '.join(supported)} (deploy/gpu.md has the table)"
