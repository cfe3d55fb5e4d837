"""Memory that is given back: what a slide takes should not grow with what was freed before."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from typing import Final

import pyarrow as pa

_ARENA_MAX: Final = -8  # of mallopt(3)
_MMAP_THRESHOLD: Final = -3
_ARENAS: Final = 2
_LARGE: Final = 1 << 20  # bytes: arrays of pixels, not the masks of nuclei


@functools.cache
def give_back() -> None:
    """Have freed memory go back to the system, for this process and from now on.

    By default glibc keeps an arena per thread and learns to keep large blocks, and Arrow has a pool
    of its own: together they hold twice what a slide needs. Other systems are left as they are.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_ARENA_MAX, _ARENAS)
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
