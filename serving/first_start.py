"""Find or build the plan for this host's GPU: from the repository, from a cache, or built anew.

`conversion.ensure_engine` does so in a process of its own, so that the supervisor needs neither
numpy nor TensorRT and holds no GPU memory. `conversion.prove_served` then proves what is served.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from serving.environment import ROOT
from serving.installation import Installation
from serving.server import ServerError

_NETWORK: Final = Path("tsfd_net")
_PLAN: Final = "model.plan"
_STEP: Final = "engine: "  # prefix of lines that report progress

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def fitted(
    repository: Path, engines: Path, installation: Installation, *, rehearse: bool
) -> Iterator[Path]:
    """Provide a model repository whose plan fits this host, for the duration of the context.

    Parameters
    ----------
    repository
        The repository as shipped, possibly read-only.
    engines
        Folder that caches plans between starts.
    rehearse
        Whether to use OpenVINO in place of TensorRT; the CPU profile then serves as usual.

    Raises
    ------
    ServerError
        If there is no plan for this host, with the reason in one line.
    """
    repository = repository.resolve()
    plan = _find(
        repository, engines.resolve(), installation, "openvino" if rehearse else "tensorrt"
    )
    if plan == repository / _NETWORK / "1" / _PLAN:
        yield repository
        return
    with tempfile.TemporaryDirectory(prefix="tsfd-repository-") as folder:
        _link(repository, plan, Path(folder))
        yield Path(folder)


def prove(repository: Path, http_url: str, installation: Installation) -> None:
    """Send the recorded patches through a running server, which must find the proven nuclei.

    Parameters
    ----------
    repository
        The repository that is served.
    http_url
        Address of Triton's HTTP endpoint.

    Raises
    ------
    ServerError
        If it does not, with the reason in one line.
    """
    arguments = ["--repository", str(repository), "--url", http_url]
    _run(installation, "prove_served", arguments)


def _find(repository: Path, engines: Path, installation: Installation, builder: str) -> Path:
    arguments = ["--builder", builder, "--repository", str(repository), "--engines", str(engines)]
    try:
        return Path(json.loads(_run(installation, "ensure_engine", arguments))["plan"])
    except ServerError as error:
        raise ServerError(f"There is no engine to serve: {error}") from error


def _run(installation: Installation, module: str, arguments: list[str]) -> str:
    """Run a module of `conversion`, logging its steps; return what it prints."""
    process = subprocess.Popen(
        [installation.python, "-m", f"conversion.{module}", *arguments],
        env=installation.environment | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            reason = "no reason given."
            for line in map(str.strip, process.stderr):
                if line.startswith(_STEP):
                    logger.warning(line)
                else:
                    reason = line.removeprefix(f"{module}: ")
            printed = process.stdout.read()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # including processes that build for it
            raise
    if process.returncode:
        raise ServerError(reason)
    return printed


def _link(repository: Path, plan: Path, folder: Path) -> None:
    """Fill a folder with links to a repository's files, replacing its plan by another."""
    for model in repository.iterdir():
        if model.name != _NETWORK.name:
            (folder / model.name).symlink_to(model)
    version = folder / _NETWORK / "1"
    version.mkdir(parents=True)
    for file in (repository / _NETWORK).iterdir():
        if file.name != version.name:
            (folder / _NETWORK / file.name).symlink_to(file)
    for file in (repository / _NETWORK / "1").iterdir():
        if not file.name.startswith(_PLAN):
            (version / file.name).symlink_to(file)
    (version / _PLAN).symlink_to(plan)
