"""How the kernels are compiled: kept on disk, and run without the interpreter's lock.

By itself numba takes a kept kernel for fresh as long as the kernel's own file is unchanged, though
the kernels it calls are compiled into it; it looks for it under that file's path, which differs
from host to host; and it refuses to load where it cannot write. Hence a folder of our own, which is
named by the package's exact sources, and copied into memory where it is read-only.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numba
from numba.core.caching import InTreeCacheLocator


def kernel(function: Callable) -> Callable:
    """Compile a function when it is first called, or load it from disk; a decorator."""
    others = numba.config.CACHE_LOCATOR_CLASSES
    numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.{Locator.__name__}"
    try:
        return numba.njit(function, cache=True, nogil=True)
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = others


class Locator(InTreeCacheLocator):
    """Tells numba the folder."""

    def get_cache_path(self) -> str:
        return str(_FOLDER)


def _folder() -> Path:
    """Where kernels are kept: below ``NUMBA_CACHE_DIR``, or beside the package's bytecode."""
    package = Path(__file__).parent
    sources = hashlib.sha256()
    for path in sorted(package.glob("*.py")):
        sources.update(path.read_bytes())
    above = Path(numba.config.CACHE_DIR or package / "__pycache__")
    folder = above / f"kernels-{sources.hexdigest()[:16]}"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        return folder
    # In a container whose root is read-only this is the one place that Triton itself must write to.
    memory = Path(tempfile.mkdtemp(prefix="tsfd-kernels-", dir="/dev/shm"))
    atexit.register(shutil.rmtree, memory, ignore_errors=True)
    for path in folder.glob("*"):
        shutil.copyfile(path, memory / path.name)
    return memory


_FOLDER = _folder()
