"""Arrays in a GPU's memory, through the driver's own library.

Wherever a GPU works ``libcuda`` is there, which no package for Python is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from conversion.errors import ConversionError


@contextmanager
def on_gpu(arrays: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """Copy arrays to the first GPU, give their addresses there, and copy them back at the end.

    Parameters
    ----------
    arrays
        Contiguous; hold afterwards what the GPU's copies held.

    Raises
    ------
    ConversionError
        If there is no driver, or it refuses.
    """
    driver = _Driver()
    addresses: list[int] = []
    try:
        for array in arrays:
            addresses.append(driver.allocate(array.nbytes))
            driver("cuMemcpyHtoD_v2", ctypes.c_uint64(addresses[-1]), *_memory(array))
        yield addresses
        for array, address in zip(arrays, addresses, strict=True):
            pointer, size = _memory(array)
            driver("cuMemcpyDtoH_v2", pointer, ctypes.c_uint64(address), size)
    finally:
        for address in addresses:
            driver("cuMemFree_v2", ctypes.c_uint64(address))


class _Driver:
    """Functions of ``libcuda`` in the context that TensorRT uses too."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise ConversionError(
                "An engine runs on an NVIDIA GPU alone, and there is no driver (libcuda.so.1) "
                "here: run this on the serving host."
            ) from error
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self("cuInit", 0)
        self("cuDeviceGet", ctypes.byref(device), 0)
        self("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self("cuCtxSetCurrent", context)

    def __call__(self, function: str, *arguments: object) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            raise ConversionError(f"The NVIDIA driver refuses {function} (CUDA error {code}).")

    def allocate(self, size: int) -> int:
        address = ctypes.c_uint64()
        self("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value


def _memory(array: np.ndarray) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
    return ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
