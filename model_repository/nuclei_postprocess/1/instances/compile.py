"""Compile kernels that run without the interpreter lock and are cached on disk.

Numba's own cache does not suffice: it considers a kernel up to date as long as the kernel's file is
unchanged, although the kernels it calls are compiled into it; it finds the kernel by the path of
that file, which differs between hosts; and it refuses to load from a read-only folder. So kernels
are cached in a folder named by a hash of the package's sources, and copied to memory if that folder
is read-only.
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
    """Decorate a function to be compiled, or loaded from disk, when it is first called."""
    others = numba.config.CACHE_LOCATOR_CLASSES
    numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.{Locator.__name__}"
    try:
        return numba.njit(function, cache=True, nogil=True)
    finally:
        numba.config.CACHE_LOCATOR_CLASSES = others


class Locator(InTreeCacheLocator):
    """Tells numba the cache folder."""

    def get_cache_path(self) -> str:
        return str(_FOLDER)


def _folder() -> Path:
    """Return the cache folder, below ``NUMBA_CACHE_DIR`` or beside the package's bytecode."""
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
    # /dev/shm is writable even in a container with a read-only root, because Triton needs it.
    memory = Path(tempfile.mkdtemp(prefix="tsfd-kernels-", dir="/dev/shm"))
    atexit.register(shutil.rmtree, memory, ignore_errors=True)
    for path in folder.glob("*"):
        shutil.copyfile(path, memory / path.name)
    return memory


_FOLDER = _folder()
