"""The record of what an engine was built from and for: ``model.plan.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from conversion.model_io import BATCH_BEST, BATCH_MAX, BATCH_MIN


@dataclass(frozen=True)
class Gpu:
    """Name and compute capability (such as ``"9.0"``) of the GPU that an engine is built for."""

    name: str
    compute_capability: str


@dataclass(frozen=True)
class Sidecar:
    """What an engine was built from and for; one engine fits one TensorRT and one GPU type."""

    tensorrt: str
    gpu: str
    compute_capability: str
    onnx_sha256: str
    engine_sha256: str
    batch: tuple[int, int, int] = (BATCH_MIN, BATCH_BEST, BATCH_MAX)

    @classmethod
    def describe(cls, version: str, device: Gpu, onnx_model: bytes, engine: bytes) -> Sidecar:
        """Describe an engine just built by TensorRT `version` on `device`."""
        digests = (hashlib.sha256(content).hexdigest() for content in (onnx_model, engine))
        return cls(version, device.name, device.compute_capability, *digests)

    @classmethod
    def read(cls, plan: Path) -> Sidecar | None:
        """Read the sidecar of an engine; None if it is missing or unreadable."""
        try:
            found = json.loads(sidecar_file(plan).read_text())
            return cls(**{field.name: found[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def to_json(self, **more: str) -> str:
        """Return the content of the file; `more` is added to the fields."""
        return json.dumps(asdict(self) | more, indent=2) + "\n"


def sidecar_file(plan: Path) -> Path:
    """Path of an engine's sidecar."""
    return plan.with_name(plan.name + ".json")


def misfit(plan: Path, *, version: str | None, device: Gpu | None) -> str | None:
    """Return a clause that says why an engine does not fit here, or None if it does.

    Parameters
    ----------
    plan
        The engine; its sidecar has the same name with ``.json`` added.
    version
        Version of the installed TensorRT; None skips this check.
    device
        The GPU of this host; None skips this check.
    """
    if not plan.is_file():
        return None
    built = Sidecar.read(plan)
    if built is None:
        name = sidecar_file(plan).name
        return f"{plan} has no readable sidecar {name}"
    if built.engine_sha256 != hashlib.sha256(plan.read_bytes()).hexdigest():
        return f"{plan} is not the engine that its sidecar describes"
    if version is not None and built.tensorrt != version:
        return (
            f"{plan} was built by TensorRT {built.tensorrt} and will not load in the installed "
            f"{version}"
        )
    if device is not None and Gpu(built.gpu, built.compute_capability) != device:
        return f"{plan} was built for {built.gpu}, not for {device.name}"
    return None
