"""Create the environment of the embedded Triton server: ``python -m serving.environment``.

NVIDIA ships the ``tritonserver`` binary in the ``nvidia-pytriton`` wheel. It runs directly from
there, with a Python environment of its own for the Python backend, because that version of the
backend needs numpy 1.x, while training and conversion need numpy 2. The environment is in
``build/triton-env``; nothing else is changed. The post-processing's kernels are compiled there as
well, so that the first server starts as fast as later ones. A second run finds the stamp of the
first and returns at once; changed pins or another Python version recreate the environment.

Needs only Python, so that it can run while the project's own packages are being installed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
ENVIRONMENT: Final = ROOT / "build" / "triton-env"
REQUIREMENTS: Final = Path(__file__).with_name("embedded-requirements.txt")
POSTPROCESSING: Final = ROOT / "model_repository" / "nuclei_postprocess" / "1"
PYTHON_VERSIONS: Final = ((3, 11), (3, 12))
"""The wheel has backend stubs for Python 3.8 to 3.13, but numpy 1.26 only supports up to 3.12."""

MIN_GLIBC: Final = (2, 35)
_STAMP: Final = "stamp.json"

logger = logging.getLogger(__name__)


class SetupError(RuntimeError):
    """The embedded server cannot run here; the message says in one sentence what to do."""


@dataclass(frozen=True)
class TritonEnvironment:
    """A finished environment.

    Attributes
    ----------
    path
        Root of the virtual environment.
    python
        Its Python version, such as ``"3.11"``.
    library_directory
        Folder of libpython, for ``LD_LIBRARY_PATH``.
    """

    path: str
    python: str
    library_directory: str

    @property
    def bin(self) -> Path:
        """Folder of the environment's executables."""
        return Path(self.path) / "bin"

    @property
    def triton(self) -> Path:
        """Folder of the server: ``bin``, ``backends``, ``caches``."""
        packages = Path(self.path) / "lib" / f"python{self.python}" / "site-packages"
        return packages / "pytriton" / "tritonserver"

    @property
    def kernels(self) -> Path:
        """Cache folder for compiled kernels, separate from that of an environment with numpy 2."""
        return Path(self.path) / "numba-cache"


def find_environment(path: Path = ENVIRONMENT) -> TritonEnvironment | None:
    """Return the finished environment at ``path``, or None if it is missing or out of date."""
    try:
        stamp = json.loads((path / _STAMP).read_text())
    except (OSError, ValueError):
        return None
    wanted = {"path": str(path), "pins": _pins_hash()}
    if any(stamp.get(key) != value for key, value in wanted.items()):
        return None
    environment = TritonEnvironment(str(path), stamp["python"], stamp["library_directory"])
    if not (environment.triton / "bin" / "tritonserver").is_file():
        return None
    return environment


def create_environment(path: Path = ENVIRONMENT) -> TritonEnvironment:
    """Create the environment at ``path`` with the running Python, unless it exists already.

    Raises
    ------
    SetupError
        If the machine cannot run the server, or a package could not be installed.
    """
    python = ".".join(map(str, sys.version_info[:2]))
    existing = find_environment(path)
    if existing is not None and existing.python == python:
        return existing

    library_directory = _check_machine()
    if path.exists():
        shutil.rmtree(path)
    logger.info("Installing Triton into %s (150 MB to download) ...", os.path.relpath(path))
    venv.create(path, symlinks=True)
    _install(path)
    environment = TritonEnvironment(str(path), python, str(library_directory))
    _link_stub(environment)
    _check_numpy(environment)
    logger.info("Compiling the post-processing (20 s) ...")
    _compile_kernels(environment)
    stamp = {**asdict(environment), "pins": _pins_hash()}
    (path / _STAMP).write_text(json.dumps(stamp, indent=2) + "\n")
    return environment


def _pins_hash() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def _check_machine() -> Path:
    """Check that the server can run on this machine; return the folder of libpython."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise SetupError(
            f"The embedded Triton server runs on Linux x86_64 only, not on {platform.system()} "
            f"{platform.machine()}: use NVIDIA's container (deploy/README.md)."
        )
    libc, version = platform.libc_ver()
    if libc != "glibc" or tuple(map(int, version.split(".")[:2])) < MIN_GLIBC:
        raise SetupError(
            f"The embedded Triton server needs glibc {MIN_GLIBC[0]}.{MIN_GLIBC[1]} or newer, but "
            f"this machine has {libc or 'another C library'} {version}: use NVIDIA's container "
            "(deploy/README.md)."
        )
    if sys.version_info[:2] not in PYTHON_VERSIONS or sys.implementation.name != "cpython":
        raise SetupError(
            "The embedded Triton server's Python backend needs CPython 3.11 or 3.12 (numpy 1.26 "
            f"has no wheels for others), not {platform.python_implementation()} "
            f"{platform.python_version()}: create the environment with one of those."
        )
    directory = sysconfig.get_config_var("LIBDIR")
    library = f"libpython3.{sys.version_info[1]}.so.1.0"
    if (Path(directory) / library).is_file():
        return Path(directory)
    # Without libpython the server does not fail at start, but hangs for ever.
    raise SetupError(
        f"{library} is not in {directory}, and Triton's Python backend cannot start without it: "
        f"install it (Debian and Ubuntu: libpython3.{sys.version_info[1]}) or use a Python "
        "built with --enable-shared."
    )


def _install(path: Path) -> None:
    from serving.packages import PackagesError, install  # missing in the container's image

    try:
        install(path, "--no-deps", "--only-binary", ":all:", "--requirement", REQUIREMENTS)
    except PackagesError as error:
        raise SetupError(
            f"The packages of {REQUIREMENTS.name} could not be installed: {error}"
        ) from error


def _link_stub(environment: TritonEnvironment) -> None:
    """Put the backend's stub for this Python version where the server looks for it."""
    name = "triton_python_backend_stub"
    stub = environment.triton / "python_backend_stubs" / environment.python / name
    if not stub.is_file():
        raise SetupError(
            f"The nvidia-pytriton wheel has no backend stub for Python {environment.python}: it is "
            f"not the version in {REQUIREMENTS.name}."
        )
    link = environment.triton / "backends" / "python" / name
    link.symlink_to(os.path.relpath(stub, link.parent))
    stub.chmod(0o755)


def _check_numpy(environment: TritonEnvironment) -> None:
    command = [environment.bin / "python", "-c", "import numpy; print(numpy.__version__)"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not version.startswith("1."):
        raise SetupError(
            f"{REQUIREMENTS.name} installs numpy {version}, under which this Triton's Python "
            "backend silently corrupts tensors: pin numpy 1.26 there."
        )


def _compile_kernels(environment: TritonEnvironment) -> None:
    command = [environment.bin / "python", "-c", "import instances; instances.warm_up()"]
    variables = {"PYTHONPATH": str(POSTPROCESSING), "NUMBA_CACHE_DIR": str(environment.kernels)}
    result = subprocess.run(
        command, env=os.environ | variables, stderr=subprocess.PIPE, text=True, check=False
    )
    if result.returncode:
        reason = (result.stderr.splitlines() or ["no reason given"])[-1]
        raise SetupError(f"The kernels of {POSTPROCESSING} do not compile: {reason}")


def main() -> int:
    """Run the command line; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        environment = create_environment()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Triton server ready in {environment.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
