"""The Triton of this machine: that of NVIDIA's container, or the embedded one of `environment`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from conversion import nvidia
from serving.environment import TritonEnvironment, find_environment

_CONTAINER: Final = Path("/opt/tritonserver/bin/tritonserver")
_EMBEDDED: Final = "2.51.0"
_NETWORK: Final = "tsfd_net/1/model."
_NO_GPU: Final = (
    "This image serves on an NVIDIA GPU, and {reason}: give the container one (docker run "
    "--gpus=all; on Kubernetes a limit of nvidia.com/gpu), or take the image for the CPU "
    "(deploy/README.md)."
)


class ServerError(RuntimeError):
    """The server cannot start; the message is one line that says why and what to do."""


@dataclass(frozen=True)
class Installation:
    """A Triton that can be started.

    Attributes
    ----------
    is_embedded
        Whether it is the one of `serving.environment`.
    has_gpu
        Whether it computes on a GPU; else it runs the CPU profile.
    python
        Interpreter to launch it by.
    command
        The server and the options that belong to the installation.
    environment
        Variables for the server.
    """

    is_embedded: bool
    has_gpu: bool
    python: str
    command: tuple[str, ...]
    environment: dict[str, str]

    @property
    def artefact(self) -> Path:
        """The network's file in the model repository that is served here."""
        return Path(_NETWORK + ("plan" if self.has_gpu else "onnx"))


def find() -> Installation | None:
    """Return what is installed, or None. The container's Triton comes first.

    Raises
    ------
    ServerError
        If a container for GPUs has none.
    """
    if _CONTAINER.is_file():
        return _container()
    environment = find_environment()
    return None if environment is None else _embedded(environment)


def _container() -> Installation:
    reason = nvidia.obstacle()
    if reason and find_spec("openvino") is None:  # by which the CPU profile computes
        raise ServerError(_NO_GPU.format(reason=reason))
    options = ("--model-config-name=cpu", "--allow-gpu-metrics=false") if reason else ()
    return Installation(
        is_embedded=False,
        has_gpu=reason is None,
        python=sys.executable,
        command=(str(_CONTAINER), *options),
        environment=dict(os.environ),
    )


def _embedded(environment: TritonEnvironment) -> Installation:
    triton = environment.triton
    options = {
        "model-config-name": "cpu",  # the wheel it comes from holds no TensorRT backend
        "backend-directory": triton / "backends",
        "cache-directory": triton / "caches",
        "allow-gpu-metrics": "false",
        "pinned-memory-pool-byte-size": 0,
    }
    inherited = dict(os.environ)
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        inherited.pop(name, None)
    search_path = os.environ.get("LD_LIBRARY_PATH", "")
    return Installation(
        is_embedded=True,
        has_gpu=False,
        python=str(environment.bin / "python"),
        command=(
            str(triton / "bin" / "tritonserver"),
            *(f"--{name}={value}" for name, value in options.items()),
        ),
        environment=inherited
        | {
            # The backend embeds the Python that it finds first on PATH.
            "PATH": f"{environment.bin}:{os.environ.get('PATH', '')}",
            "LD_LIBRARY_PATH": f"{environment.library_directory}:{search_path}".rstrip(":"),
            "NUMBA_CACHE_DIR": str(environment.kernels),
            "TRITON_SERVER_VERSION": _EMBEDDED,  # as NVIDIA's container has it
        },
    )
