"""The model repository that tests use: ``python -m tests.repository``, as `make test` does.

It lies in ``build/tests`` and holds the shipped weights, so that what a user has converted into
``model_repository`` stays as it is. It is made anew when and only when its content has changed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from conversion.__main__ import INSTALLED
from conversion.__main__ import main as convert
from conversion.model_io import ENGINE_SOURCE, PARITY_DATA
from serving.environment import ROOT
from training.export import main as export

_BUILT: Final = {
    *INSTALLED.values(),
    "model.plan.json",
    ENGINE_SOURCE,
    PARITY_DATA,
    "release.json",
    "config.pbtxt",
    "cpu.pbtxt",
}


def make(source: Path, folder: Path) -> int:
    """Convert the shipped weights into a copy of a model repository.

    Parameters
    ----------
    source
        The repository; what is converted in it plays no part.
    folder
        Gets ``model_repository``, and what that is made of.

    Returns
    -------
    int
        Exit code.
    """
    copy = folder / "model_repository"
    _copy(source, copy)
    saved_model, out = str(folder / "saved_model"), str(folder / "conversion")
    options = [
        "--saved-model",
        saved_model,
        "--out",
        out,
        "--repository",
        str(copy),
        "--targets",
        "cpu",
    ]
    weights = str(ROOT / "weights" / "lite.npz")
    return export(["--weights", weights, "--out", saved_model]) or convert(options)


def _copy(source: Path, copy: Path) -> None:
    """Bring sources up to date; what is built in the copy stays."""
    names = {path.relative_to(source) for path in source.rglob("*") if _is_source(path)}
    for path in [path for path in copy.rglob("*") if _is_source(path)]:
        if path.relative_to(copy) not in names:
            path.unlink()
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, copy / name)


def _is_source(path: Path) -> bool:
    return path.is_file() and path.name not in _BUILT and "__pycache__" not in path.parts


if __name__ == "__main__":
    sys.exit(make(ROOT / "model_repository", ROOT / "build" / "tests"))
