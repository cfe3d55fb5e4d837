"""Return freed memory to the system, so that a long run does not keep growing."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from typing import Final

import pyarrow as pa

_ARENA_MAX: Final = -8  # of mallopt(3)
_MMAP_THRESHOLD: Final = -3
_ARENAS: Final = 2
_LARGE: Final = 1 << 20  # bytes: above the masks of nuclei, below arrays of pixels


@functools.cache
def give_back() -> None:
    """Make this process return freed memory to the system from now on.

    By default glibc keeps an arena per thread and adapts to keep large blocks, and Arrow has a pool
    of its own; together they hold twice what a slide needs. Without glibc only Arrow is changed.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_ARENA_MAX, _ARENAS)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
