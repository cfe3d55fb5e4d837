"""Arrays in a GPU's memory, through the driver's own library.

Wherever a GPU works, the driver's library is installed; no Python package is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np

from conversion.errors import ConversionError
from conversion.nvidia import Driver


@contextmanager
def on_gpu(arrays: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """Copy arrays to the first GPU, yield their addresses there, and copy them back at the end.

    Parameters
    ----------
    arrays
        Contiguous; afterwards they have the values of the GPU's copies.

    Raises
    ------
    ConversionError
        If there is no driver, or it refuses.
    """
    driver = Driver()
    context = ctypes.c_void_p()  # the context that TensorRT uses, too
    driver("cuDevicePrimaryCtxRetain", ctypes.byref(context), driver.device)
    driver("cuCtxSetCurrent", context)
    addresses: list[int] = []
    try:
        for array in arrays:
            address = ctypes.c_uint64()
            driver("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(array.nbytes))
            addresses.append(address.value)
            driver("cuMemcpyHtoD_v2", address, *_memory(array))
        yield addresses
        for array, address in zip(arrays, addresses, strict=True):
            pointer, size = _memory(array)
            driver("cuMemcpyDtoH_v2", pointer, ctypes.c_uint64(address), size)
    finally:
        for address in addresses:
            # After an error the driver refuses everything, which must not hide what came first.
            with suppress(ConversionError):
                driver("cuMemFree_v2", ctypes.c_uint64(address))


def _memory(array: np.ndarray) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
    return ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
