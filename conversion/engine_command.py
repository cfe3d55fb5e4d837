"""Build and run an engine by a command, which may run in a container.

The command runs `conversion.tensorrt_engine`, in this Python or in the serving container, or
`conversion.openvino_engine`; ``host``, ``build ONNX PLAN`` or ``run PLAN IMAGES OUTPUTS`` is
appended to it. Its results are checked here.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from conversion.errors import ConversionError
from conversion.host_support import Host
from conversion.model_io import COMPARED, has_shape
from conversion.runtimes import ENGINE_BATCHES, Outputs
from conversion.sidecar import Gpu, Sidecar, misfit, sidecar_file

THIS_PYTHON = (sys.executable, "-m", "conversion.tensorrt_engine")


def host(command: Sequence[str]) -> Host:
    """Ask `command` what it builds and runs engines on.

    Raises
    ------
    ConversionError
        If it cannot.
    """
    return Host.from_json(_call(command, "host"))


def build(command: Sequence[str], model: Path, plan: Path) -> Sidecar:
    """Build an engine of the ONNX file `model` by `command`; returns its sidecar.

    Raises
    ------
    ConversionError
        If the command fails or does not leave an engine of `model`.
    """
    for former in (plan, sidecar_file(plan)):
        former.unlink(missing_ok=True)
    _call(command, "build", model, plan)
    if not plan.is_file():
        raise ConversionError(f"`{' '.join(command)}` left no {plan}.")
    _refuse(misfit(plan, version=None, device=None))
    sidecar = Sidecar.read(plan)
    if sidecar.onnx_sha256 != hashlib.sha256(model.read_bytes()).hexdigest():
        _refuse(f"{plan} was built from another network than {model}")
    return sidecar


def run(command: Sequence[str], plan: Path, images: np.ndarray, scratch: Path) -> Outputs:
    """Run an engine on uint8 images [N, 256, 256, 3] by `command`, in batches of every kind.

    Files are exchanged with the command in the folder `scratch`.

    Returns
    -------
    dict
        The engine's outputs for the images, which were repeated to fill `ENGINE_BATCHES`.

    Raises
    ------
    ConversionError
        If the command fails, the engine does not fit the host it ran on, or its outputs break the
        contract.
    """
    inputs, results = scratch / "engine-images.npy", scratch / "engine-outputs.npz"
    number = sum(ENGINE_BATCHES)
    np.save(inputs, np.resize(images, (number, *images.shape[1:])))
    results.unlink(missing_ok=True)
    _call(command, "run", plan, inputs, results)
    try:
        with np.load(results) as file:
            found = dict(file)
        device = Gpu(str(found["gpu"]), str(found["compute_capability"]))
        version = str(found["tensorrt"])
        outputs = {name: found[name] for name in COMPARED}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ConversionError(
            f"the engine's outputs {results} cannot be read ({error})."
        ) from error
    _refuse(misfit(plan, version=version, device=device))
    for name, (dtype, shape) in COMPARED.items():
        wanted, found_shape = (number, *shape), outputs[name].shape
        if outputs[name].dtype != dtype or not has_shape(found_shape, wanted):
            _refuse(
                f"{plan} gives {name} as {outputs[name].dtype} {list(found_shape)}, not "
                f"{np.dtype(dtype)} {list(wanted)}"
            )
    return outputs


def _call(command: Sequence[str], *arguments: str | Path) -> str:
    """Run the command and return what it prints."""
    words = [*command, *map(str, arguments)]
    try:
        result = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConversionError(
            f"`{command[0]}` cannot be started ({error.strerror}): give --tensorrt the command "
            "that runs conversion.tensorrt_engine."
        ) from error
    if result.returncode:
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
        reason = lines[-1].removeprefix("engine: ") if lines else f"exit code {result.returncode}"
        raise ConversionError(f"the engine's {arguments[0]} failed: {reason}")
    return result.stdout


def _refuse(reason: str | None) -> None:
    if reason:
        raise ConversionError(f"{reason}.")
