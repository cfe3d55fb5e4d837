"""A folder of engines kept from one start to the next, which many hosts may share.

An engine is stored under a key that says what it was built from and for. It appears there only when
complete: it is built in a scratch folder next to it, by the one process that holds the key's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from conversion.errors import ConversionError
from conversion.host_support import Host
from conversion.model_io import PLAN

_ROOM = 8  # space needed for an engine, the patches and its answers, in sizes of the ONNX file
_LEAST = 32 << 20
_TIMINGS = "timing-*.cache"  # which `conversion.tensorrt_engine` reads and writes beside a plan


def key(onnx_sha256: str, host: Host) -> str:
    """Name for the engine of an ONNX file on a host's runtime and GPU."""
    said = (onnx_sha256, host.runtime, host.version, host.gpu.name)
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


@contextlib.contextmanager
def locked(engines: Path, key: str, waits: Callable[[], None]) -> Iterator[Path]:
    """Hold the lock of a key; yields the path of its engine, whether it exists or not.

    The operating system releases the lock when its holder ends, for whatever reason.

    Parameters
    ----------
    engines
        The folder; created if necessary.
    waits
        Called once if another process holds the lock and has to be waited for.

    Raises
    ------
    ConversionError
        If the folder cannot be written.
    """
    try:
        engines.mkdir(parents=True, exist_ok=True)
        lock = (engines / f"{key}.lock").open("w")
    except OSError as error:
        raise ConversionError(_unwritable(engines, error)) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield engines / key / PLAN


@contextlib.contextmanager
def scratch(plan: Path, size: int) -> Iterator[Path]:
    """A folder to build an engine in, next to its place; removed afterwards.

    It holds the kernel timings that former builds have kept with `keep_timings`. Remains of killed
    processes that were building the same engine are removed. The caller must hold the engine's
    lock.

    Parameters
    ----------
    plan
        The engine's place, as yielded by `locked`.
    size
        Bytes of the ONNX file.

    Raises
    ------
    ConversionError
        If there is no room, or the folder cannot be written.
    """
    engines, name = plan.parents[1], plan.parent.name
    for left in engines.glob(f".{name}-*"):
        shutil.rmtree(left)
    wanted, free = max(_LEAST, _ROOM * size), shutil.disk_usage(engines).free
    if free < wanted:
        raise ConversionError(
            f"The cache of engines {engines} has {free >> 20} MB left, but building an engine "
            f"takes {wanted >> 20} MB: give it more space, or remove engines of former releases."
        )
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=engines))
    except OSError as error:
        raise ConversionError(_unwritable(engines, error)) from error
    try:
        for timings in engines.glob(_TIMINGS):
            shutil.copy(timings, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep_timings(folder: Path) -> None:
    """Move the kernel timings in a scratch folder to where the next build finds them."""
    for timings in folder.glob(_TIMINGS):
        timings.replace(folder.parent / timings.name)


def keep(folder: Path, plan: Path) -> None:
    """Move a scratch folder that holds an engine to the engine's place."""
    shutil.rmtree(plan.parent, ignore_errors=True)
    folder.chmod(0o755)  # the server may run as another user
    folder.rename(plan.parent)


def _unwritable(engines: Path, error: OSError) -> str:
    return (
        f"The cache of engines {engines} cannot be written ({error.strerror}): mount a volume "
        "there, or name another folder with --engines."
    )
