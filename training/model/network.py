"""TSFD-Net (Ilyas et al., Neural Networks 2022, doi 10.1016/j.neunet.2022.02.020).

    image uint8 [N, 256, 256, 3]
      -> preprocess.network_input   RGB and stain channels, [N, S, S, 6]
      -> backbone.features          six levels
      -> gating, BiFPN x repeats    six levels of equal width
      -> segmentation and boundary decoders, interlinked
      -> class_logits [N, 256, 256, 1 + K], boundary_logits [N, 256, 256, 1], tissue_logits [N, 19]

Keras' layers and operations are used, or the backend's own where Keras' are slow: the network
builds and trains on TensorFlow, PyTorch and JAX.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers, regularizers

from training.model.backbone import EFFICIENTNET_B4, EFFICIENTNET_LITE0, Backbone, features
from training.model.convolution import Conv2D, DepthwiseConv2D
from training.model.dropout import Dropout, SpatialDropout2D
from training.model.normalization import BatchNormalization
from training.model.preprocess import network_input
from training.model.resolution import GlobalAveragePooling2D, Resize
from training.target import PANNUKE, Target
from tsfd_client.contract import TILE, TISSUES

_TISSUE_DROPOUT = 0.3
_SQUEEZE_RATIO = 8
_L2 = 4e-5


@dataclass(frozen=True)
class NetworkConfig:
    """What distinguishes the presets.

    Attributes
    ----------
    backbone
        EfficientNet to use.
    input_size
        Side the 256-pixel tile is resized to, in pixels.
    levels
        Names of the six backbone outputs that become P2 .. P7, fine to coarse; the finest has
        half the tile's resolution.
    width
        Channels of every decoder level.
    repeats
        Number of BiFPN layers.
    dropout
        Rate of the spatial dropout after every decoder convolution.
    activation
        Of the decoders.
    head_upsamples_features
        Whether the heads upsample the decoder's features and then reduce them to logits, as in the
        paper, or the other way round, for a quarter of the arithmetic.
    """

    backbone: Backbone
    input_size: int
    levels: tuple[str, ...]
    width: int
    repeats: int
    dropout: float
    activation: str
    head_upsamples_features: bool


PRESETS: dict[str, NetworkConfig] = {
    # The paper's network: 22,130,108 parameters.
    "paper": NetworkConfig(
        backbone=EFFICIENTNET_B4,
        input_size=512,
        levels=("block2", "block3", "block4", "block5", "block6", "top"),
        width=160,
        repeats=3,
        dropout=0.2,
        activation="swish",
        head_upsamples_features=True,
    ),
    # For CPUs. The tile is not upsampled, so each level is tapped one stride earlier.
    "lite": NetworkConfig(
        backbone=EFFICIENTNET_LITE0,
        input_size=256,
        levels=("block1", "block2", "block3", "block5", "block6", "top"),
        width=48,
        repeats=2,
        dropout=0.0,
        activation="relu",
        head_upsamples_features=False,
    ),
}


def build(preset: str, target: Target = PANNUKE) -> keras.Model:
    """Build an untrained network.

    Parameters
    ----------
    preset
        ``"paper"`` or ``"lite"``.
    target
        The K classes that it predicts.

    Returns
    -------
    keras.Model
        uint8 or float32 RGB tiles [N, 256, 256, 3] (0..255) in; a dict of float32
        ``class_logits`` [N, 256, 256, 1 + K], ``boundary_logits`` [N, 256, 256, 1] and
        ``tissue_logits`` [N, 19] out.

    Raises
    ------
    ValueError
        If there is no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"There is no preset {preset!r}; choose one of {', '.join(PRESETS)}.")
    config = PRESETS[preset]

    image = keras.Input((TILE, TILE, 3), name="image")
    x = network_input(image, config.input_size)
    x = layers.Rescaling(1 / 255.0, name="rescaling")(x)
    x = layers.Normalization(name="normalization")(x)
    taps = features(config.backbone, x)
    levels = {
        level: _gate(taps[tap], config, f"gate{level}")
        for level, tap in enumerate(config.levels, start=2)
    }
    tissue = _tissue_head(levels[max(levels)])
    for repeat in range(1, config.repeats + 1):
        levels = _bifpn(levels, config, f"bifpn{repeat}")
    segmentation, boundary = _decoders(levels, config)
    channels = 1 + len(target.classes)
    return keras.Model(
        image,
        {
            "class_logits": _upsampling_head(segmentation, channels, config, "class"),
            "boundary_logits": _upsampling_head(boundary, 1, config, "boundary"),
            "tissue_logits": tissue,
        },
        name=f"tsfd_net_{preset}",
    )


def _gate(x: keras.KerasTensor, config: NetworkConfig, name: str) -> keras.KerasTensor:
    x = Conv2D(
        config.width,
        3,
        padding="same",
        kernel_regularizer=regularizers.L2(_L2),
        name=f"{name}_conv",
    )(x)
    x = _normalise(x, config, name)
    return SpatialDropout2D(config.dropout, name=f"{name}_drop")(x)


def _bifpn(
    p: dict[int, keras.KerasTensor], config: NetworkConfig, name: str
) -> dict[int, keras.KerasTensor]:
    """One bidirectional feature pyramid layer: coarse to fine, then fine to coarse."""

    def fuse(target: str, *inputs: keras.KerasTensor) -> keras.KerasTensor:
        return _fuse(list(inputs), config, f"{name}_p{target}")

    td6 = fuse("6td", p[6], p[7])
    td5 = fuse("5td", p[5], td6)
    td4 = fuse("4td", p[4], td5)
    td3 = fuse("3td", p[3], td4)
    out = {2: fuse("2", p[2], td3)}
    out[3] = fuse("3", p[3], td3, out[2])
    out[4] = fuse("4", p[4], td4, out[3])
    out[5] = fuse("5", p[5], td5, out[4])
    out[6] = fuse("6", p[6], td6, out[5])
    out[7] = fuse("7", p[7], out[6])
    return out


def _decoders(
    p: dict[int, keras.KerasTensor], config: NetworkConfig
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Segmentation and boundary decoders; the latter also reads the former at each level."""
    *finer_levels, last, coarsest = sorted(p)
    segmentation = _fuse([p[last], p[coarsest]], config, f"segmentation{last}")
    boundary = _fuse([segmentation, p[coarsest]], config, f"boundary{last}")
    for level in reversed(finer_levels):
        finer = _fuse([p[level], segmentation], config, f"segmentation{level}")
        # The boundary decoder reads the pyramid one level behind: it starts from P7 and s6.
        boundary = _fuse([finer, boundary, p[level + 1]], config, f"boundary{level}")
        segmentation = finer
    return segmentation, boundary


def _fuse(inputs: list[keras.KerasTensor], config: NetworkConfig, name: str) -> keras.KerasTensor:
    """Sum the reweighted inputs at the first one's resolution; then a depthwise convolution."""
    size = inputs[0].shape[1:3]
    weighted = []
    for number, x in enumerate(inputs):
        x = _reweight(x, config, f"{name}_in{number}")
        if x.shape[1:3] != size:
            x = Resize(size)(x)
        weighted.append(x)
    x = layers.Add(name=f"{name}_add")(weighted)
    x = DepthwiseConv2D(3, padding="same", name=f"{name}_conv")(x)
    x = _normalise(x, config, name)
    return SpatialDropout2D(config.dropout, name=f"{name}_drop")(x)


def _reweight(x: keras.KerasTensor, config: NetworkConfig, name: str) -> keras.KerasTensor:
    channels = x.shape[-1]
    x = DepthwiseConv2D(3, padding="same", name=f"{name}_conv")(x)
    x = _normalise(x, config, name)
    gate = GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
    gate = layers.Dense(
        channels // _SQUEEZE_RATIO,
        activation=config.activation,
        kernel_initializer="he_normal",
        name=f"{name}_reduce",
    )(gate)
    gate = layers.Dense(
        channels, activation="sigmoid", kernel_initializer="he_normal", name=f"{name}_expand"
    )(gate)
    return layers.Multiply(name=f"{name}_excite")([x, gate])


def _upsampling_head(
    x: keras.KerasTensor, channels: int, config: NetworkConfig, name: str
) -> keras.KerasTensor:
    """Logits at twice the resolution: interpolated and learned upsampling, summed."""
    size = (2 * x.shape[1], 2 * x.shape[2])
    reduce = Conv2D(channels, 3, padding="same", name=f"{name}_smooth")
    smooth = reduce(Resize(size)(x)) if config.head_upsamples_features else Resize(size)(reduce(x))
    learned = layers.Conv2DTranspose(channels, 3, 2, padding="same", name=f"{name}_learned")(x)
    x = layers.Add(name=f"{name}_add")([smooth, learned])
    x = layers.Activation("swish", name=f"{name}_act")(x)
    return DepthwiseConv2D(3, padding="same", dtype="float32", name=f"{name}_logits")(x)


def _tissue_head(x: keras.KerasTensor) -> keras.KerasTensor:
    x = GlobalAveragePooling2D(name="tissue_squeeze")(x)
    x = Dropout(_TISSUE_DROPOUT, name="tissue_drop")(x)
    return layers.Dense(len(TISSUES), dtype="float32", name="tissue_logits")(x)


def _normalise(x: keras.KerasTensor, config: NetworkConfig, name: str) -> keras.KerasTensor:
    x = BatchNormalization(name=f"{name}_bn")(x)
    return layers.Activation(config.activation, name=f"{name}_act")(x)
