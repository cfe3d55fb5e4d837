"""Find this machine's Triton: that of NVIDIA's container, or the embedded one."""

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
    "This image needs an NVIDIA GPU, but {reason}: give the container one (docker run --gpus=all; "
    "on Kubernetes a limit of nvidia.com/gpu), or use the image for the CPU (deploy/README.md)."
)


class ServerError(RuntimeError):
    """The server cannot start; the message says in one line why and what to do."""


@dataclass(frozen=True)
class Installation:
    """A Triton that can be started.

    Attributes
    ----------
    is_embedded
        Whether it is the one of `serving.environment`.
    has_gpu
        Whether it uses a GPU; otherwise it runs the CPU profile.
    python
        Python interpreter that launches it.
    command
        The server with the options that this installation needs.
    environment
        Environment variables for the server.
    """

    is_embedded: bool
    has_gpu: bool
    python: str
    command: tuple[str, ...]
    environment: dict[str, str]

    @property
    def artefact(self) -> Path:
        """File of the network that is served here, within the model repository."""
        return Path(_NETWORK + ("plan" if self.has_gpu else "onnx"))


def find() -> Installation | None:
    """Return the installed Triton, preferably the container's, or None.

    Raises
    ------
    ServerError
        If the container's image needs a GPU and there is none.
    """
    if _CONTAINER.is_file():
        return _container()
    environment = find_environment()
    return None if environment is None else _embedded(environment)


def _container() -> Installation:
    reason = nvidia.obstacle()
    if reason and find_spec("openvino") is None:  # needed by the CPU profile
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
        "model-config-name": "cpu",  # the wheel has no TensorRT backend
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
            # The backend embeds the first Python on PATH.
            "PATH": f"{environment.bin}:{os.environ.get('PATH', '')}",
            "LD_LIBRARY_PATH": f"{environment.library_directory}:{search_path}".rstrip(":"),
            "NUMBA_CACHE_DIR": str(environment.kernels),
            "TRITON_SERVER_VERSION": _EMBEDDED,  # as in NVIDIA's container
        },
    )
