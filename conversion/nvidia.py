"""The NVIDIA driver: whether this process has a GPU, and the driver's functions.

Uses the driver's own library, ``libcuda``, which is present wherever a GPU works and respects
CUDA_VISIBLE_DEVICES; device files and nvidia-smi tell what a host has, not what a process may use.
Needs no packages, so that the supervisor in a container can use it.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

from conversion.errors import ConversionError

_LIBRARY: Final = "libcuda.so.1"
_NO_DEVICE: Final = 100  # CUDA_ERROR_NO_DEVICE
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
_NAME_LENGTH: Final = 256


def obstacle() -> str | None:
    """Why this process has no GPU, as a clause, or None if it has one."""
    try:
        code = ctypes.CDLL(_LIBRARY).cuInit(0)
    except OSError:
        return f"there is no driver ({_LIBRARY}) here"
    if code == _NO_DEVICE:
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
        named = "" if chosen is None else f" (CUDA_VISIBLE_DEVICES is {chosen!r})"
        return f"CUDA shows none here{named}"
    return f"the NVIDIA driver refuses cuInit (CUDA error {code})" if code else None


class Driver:
    """Functions of ``libcuda``, and the first visible GPU.

    Attributes
    ----------
    device
        CUDA's number of that GPU.

    Raises
    ------
    ConversionError
        If there is no GPU; and from any function that the driver refuses.
    """

    def __init__(self) -> None:
        reason = obstacle()
        if reason:
            raise ConversionError(
                f"An engine needs an NVIDIA GPU, and {reason}: run this on the serving host."
            )
        self._library = ctypes.CDLL(_LIBRARY)
        self.device = ctypes.c_int()
        self("cuDeviceGet", ctypes.byref(self.device), 0)

    def __call__(self, function: str, *arguments: object) -> None:
        """Call a function by its name."""
        code = getattr(self._library, function)(*arguments)
        if code:
            raise ConversionError(f"The NVIDIA driver refuses {function} (CUDA error {code}).")

    def name(self) -> str:
        """Name of the GPU, such as ``"NVIDIA L4"``."""
        name = ctypes.create_string_buffer(_NAME_LENGTH)
        self("cuDeviceGetName", name, _NAME_LENGTH, self.device)
        return name.value.decode()

    def compute_capability(self) -> str:
        """Compute capability of the GPU, such as ``"8.9"``."""
        parts = [ctypes.c_int(), ctypes.c_int()]
        for part, attribute in zip(parts, (_MAJOR, _MINOR), strict=True):
            self("cuDeviceGetAttribute", ctypes.byref(part), attribute, self.device)
        return ".".join(str(part.value) for part in parts)
