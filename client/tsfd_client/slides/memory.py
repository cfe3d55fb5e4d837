"""How a long run uses memory: it returns what it has freed, and seldom looks for cycles.

give_back        so that the process does not keep growing
collect_seldom   so that the many objects of a block are not visited again and again
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
from typing import Final

import pyarrow as pa

_ARENA_MAX: Final = -8  # of mallopt(3)
_MMAP_THRESHOLD: Final = -3
_TRIM_THRESHOLD: Final = -1
_ARENAS: Final = 2
_LARGE: Final = 4 << 20  # bytes: above what is computed of a block's nuclei, below its pixels
_SPARE: Final = 16 << 20  # bytes: returning and fetching them again takes longer than using them
_THRESHOLDS: Final = (100_000, 50, 100)


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
        libc.mallopt(_TRIM_THRESHOLD, _SPARE)


@functools.cache
def collect_seldom() -> None:
    """Let Python look for cycles among objects less often from now on: nuclei have none."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
