"""The host that engines are built and run on, and whether ``supported.toml`` supports it."""

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
    """A host that builds and runs engines.

    Attributes
    ----------
    runtime, version
        ``"TensorRT"`` or ``"OpenVINO"``, and its version.
    gpu
        The GPU, or the processor if there is none.
    driver
        Version of the NVIDIA driver, or None.
    """

    runtime: str
    version: str
    gpu: Gpu
    driver: str | None = None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Restore a host from what `to_json` returned."""
        found = json.loads(text)
        return cls(**found | {"gpu": Gpu(**found["gpu"])})

    def to_json(self) -> str:
        """Return one line of JSON for `from_json`."""
        return json.dumps(asdict(self))

    def line(self) -> str:
        """One line for the log."""
        driver = f", driver {self.driver}" if self.driver else ""
        return f"{self.runtime} {self.version}, {self.gpu.name}{driver}"


def refusal(host: Host, triton: str | None) -> str | None:
    """Return a sentence that says why `host` is not supported, or None if it is.

    Parameters
    ----------
    triton
        Version of the server; None, if it is not known, skips this check.
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
