"""Install files in the model repository, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from conversion.errors import ConversionError


def version_folder(repository: Path) -> Path:
    """Folder of the network's version 1; created if necessary.

    Raises
    ------
    ConversionError
        If there is no repository or the folder cannot be written.
    """
    if not repository.is_dir():
        raise ConversionError(
            f"There is no model repository {repository}: run from the project's folder, or name "
            "it with --repository."
        )
    folder = repository / "tsfd_net" / "1"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConversionError(
            f"Cannot write to {folder} ({error.strerror}): give yourself write access, or copy "
            "the repository and name the copy with --repository."
        ) from error
    return folder


def write(files: Mapping[Path, bytes]) -> None:
    """Write files next to their places, then move each into place atomically.

    Raises
    ------
    ConversionError
        If that fails; nothing is moved until everything is written.
    """
    scratches: dict[Path, Path] = {}
    try:
        for path, content in files.items():
            scratches[path] = _write_beside(path, content)
        for path, scratch in scratches.items():
            scratch.replace(path)
    except OSError as error:
        raise ConversionError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        for scratch in scratches.values():
            scratch.unlink(missing_ok=True)


def _write_beside(path: Path, content: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    scratch = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.chmod(0o644)  # the server may run as another user
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    return scratch
