"""EfficientNet backbones with any number of input channels.

One builder makes EfficientNet-B4 (Tan and Le 2019), TSFD-Net's own backbone, and
EfficientNet-Lite0 (no squeeze-excite, ReLU6: cheap on a CPU and well quantisable).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
from keras import layers

from training.model.convolution import Conv2D, DepthwiseConv2D
from training.model.dropout import Dropout
from training.model.normalization import BatchNormalization
from training.model.resolution import GlobalAveragePooling2D

_CHANNEL_DIVISOR = 8
_DROP_CONNECT = 0.2


@dataclass(frozen=True)
class Stage:
    """One stage of inverted bottlenecks, before the width and depth multipliers."""

    kernel: int
    repeats: int
    channels: int
    expand: int
    stride: int


_STAGES = (
    Stage(kernel=3, repeats=1, channels=16, expand=1, stride=1),
    Stage(kernel=3, repeats=2, channels=24, expand=6, stride=2),
    Stage(kernel=5, repeats=2, channels=40, expand=6, stride=2),
    Stage(kernel=3, repeats=3, channels=80, expand=6, stride=2),
    Stage(kernel=5, repeats=3, channels=112, expand=6, stride=1),
    Stage(kernel=5, repeats=4, channels=192, expand=6, stride=2),
    Stage(kernel=3, repeats=1, channels=320, expand=6, stride=1),
)


@dataclass(frozen=True)
class Backbone:
    """Scaling of the EfficientNet family."""

    width: float
    depth: float
    activation: str
    squeeze_excite: bool


EFFICIENTNET_B4 = Backbone(width=1.4, depth=1.8, activation="swish", squeeze_excite=True)
EFFICIENTNET_LITE0 = Backbone(width=1.0, depth=1.0, activation="relu6", squeeze_excite=False)


def features(backbone: Backbone, x: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """Build the backbone on `x` and return the tensors the decoder may tap.

    Parameters
    ----------
    backbone
        The member of the family to build.
    x
        [N, S, S, C], already scaled by the caller.

    Returns
    -------
    dict
        ``block1`` .. ``block7`` (strides 2, 4, 8, 16, 16, 32, 32) and ``top`` (stride 32).
    """
    taps: dict[str, keras.KerasTensor] = {}
    x = Conv2D(
        _scaled_channels(32, backbone), 3, 2, padding="same", use_bias=False, name="stem_conv"
    )(x)
    x = _normalise(x, "stem", backbone.activation)

    total = sum(math.ceil(stage.repeats * backbone.depth) for stage in _STAGES)
    built = 0
    for number, stage in enumerate(_STAGES, start=1):
        for repeat in range(math.ceil(stage.repeats * backbone.depth)):
            x = _inverted_bottleneck(
                x,
                stage,
                backbone,
                stride=stage.stride if repeat == 0 else 1,
                drop=_DROP_CONNECT * built / total,
                name=f"block{number}{chr(ord('a') + repeat)}",
            )
            built += 1
        taps[f"block{number}"] = x

    x = Conv2D(_scaled_channels(1280, backbone), 1, use_bias=False, name="top_conv")(x)
    taps["top"] = _normalise(x, "top", backbone.activation)
    return taps


def _inverted_bottleneck(
    inputs: keras.KerasTensor,
    stage: Stage,
    backbone: Backbone,
    *,
    stride: int,
    drop: float,
    name: str,
) -> keras.KerasTensor:
    channels_in = inputs.shape[-1]
    channels_out = _scaled_channels(stage.channels, backbone)
    x = inputs
    if stage.expand != 1:
        x = Conv2D(channels_in * stage.expand, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _normalise(x, f"{name}_expand", backbone.activation)
    x = DepthwiseConv2D(
        stage.kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
    )(x)
    x = _normalise(x, f"{name}_depthwise", backbone.activation)
    if backbone.squeeze_excite:
        x = _squeeze_excite(x, channels_in // 4, backbone.activation, name)
    x = Conv2D(channels_out, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _normalise(x, f"{name}_project", None)
    if stride == 1 and channels_in == channels_out:
        if drop > 0:
            x = Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
        x = layers.Add(name=f"{name}_add")([inputs, x])
    return x


def _squeeze_excite(
    x: keras.KerasTensor, hidden: int, activation: str, name: str
) -> keras.KerasTensor:
    channels = x.shape[-1]
    gate = GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    gate = Conv2D(hidden, 1, activation=activation, name=f"{name}_se_reduce")(gate)
    gate = Conv2D(channels, 1, activation="sigmoid", name=f"{name}_se_expand")(gate)
    return layers.Multiply(name=f"{name}_excite")([x, gate])


def _normalise(x: keras.KerasTensor, name: str, activation: str | None) -> keras.KerasTensor:
    x = BatchNormalization(name=f"{name}_bn")(x)
    return x if activation is None else layers.Activation(activation, name=f"{name}_act")(x)


def _scaled_channels(channels: int, backbone: Backbone) -> int:
    scaled = channels * backbone.width
    rounded = max(
        _CHANNEL_DIVISOR, int(scaled + _CHANNEL_DIVISOR / 2) // _CHANNEL_DIVISOR * _CHANNEL_DIVISOR
    )
    return rounded + _CHANNEL_DIVISOR if rounded < 0.9 * scaled else rounded
