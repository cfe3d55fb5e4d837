"""HoVer-NeXt (Baumann et al. 2024, MIDL), the network for Lizard's classes at 0.5 µm per pixel.

A ConvNeXt V2 of the size "tiny" (Woo et al. 2023, doi 10.1109/CVPR52729.2023.01548) and two U-Net
decoders without normalisation, for instances and for classes.
"""

from __future__ import annotations

import numpy as np
import onnx

from bench.peers.graph import Graph, Tensor

SIDE, STEP = 256, 248
_STAGES = ((3, 96), (3, 192), (9, 384), (3, 768))
"""Blocks and width of each stage of the encoder."""
_WIDTHS = (256, 128, 64, 32, 16)
"""Of the decoders, from coarse to fine."""
_OUTPUTS = {"instances": 5, "class_logits": 8}


def build() -> tuple[onnx.ModelProto, int]:
    """Build the network, with outputs [1, 5 or 8, 256, 256]; also returns its parameter count."""
    g = Graph(SIDE)
    levels = _encoder(g)
    outputs = {name: g.conv(_decoder(g, levels), n, 1) for name, n in _OUTPUTS.items()}
    return g.model(**outputs), g.parameters


def _encoder(g: Graph) -> list[Tensor]:
    """Features of the stages, from fine to coarse."""
    x, levels = g.image, []
    for blocks, width in _STAGES:
        if levels:
            x = g.conv(_normalised(g, x), width, 2, stride=2, padded=False)
        else:
            x = _normalised(g, g.conv(x, width, 4, stride=4, padded=False))
        for _ in range(blocks):
            x = _block(g, x)
        levels.append(x)
    return levels


def _block(g: Graph, x: Tensor) -> Tensor:
    wide = 4 * x.channels
    y = _channels_last(g, g.conv(x, x.channels, 7, groups=x.channels))
    y = g.dense(g.layer_norm(y, x.channels), x.channels, wide)
    y = _response_norm(g, _gelu(g, y), wide)
    y = g.dense(y, wide, x.channels)
    return g.sum(x, _channels_first(g, y, x))


def _gelu(g: Graph, y: str) -> str:
    """As exporters write it."""
    half, one, root = (g.constant(np.float32(value)) for value in (0.5, 1, np.sqrt(2)))
    share = g.add("Add", [g.add("Erf", [g.add("Div", [y, root])]), one])
    return g.add("Mul", [g.add("Mul", [y, share]), half])


def _response_norm(g: Graph, y: str, channels: int) -> str:
    """Global response normalisation: each channel by its norm over the pixels."""
    norm = g.add("ReduceL2", [y, g.constant(np.array([1, 2]))])
    mean = g.add("ReduceMean", [norm, g.constant(np.array([3]))])
    relative = g.add("Div", [norm, g.add("Add", [mean, g.constant(np.float32(1e-6))])])
    scale, shift = g.affine((channels,))
    scaled = g.add("Mul", [g.add("Mul", [y, relative]), scale])
    return g.add("Add", [y, g.add("Add", [scaled, shift])])


def _decoder(g: Graph, levels: list[Tensor]) -> Tensor:
    *skipped, x = levels
    for width in _WIDTHS:
        x = g.upsample(x)
        if skipped:
            x = g.concat(x, skipped.pop())
        for _ in range(2):
            x = g.activation(g.conv(x, width, 3), "Relu")
    return x


def _normalised(g: Graph, x: Tensor) -> Tensor:
    return _channels_first(g, g.layer_norm(_channels_last(g, x), x.channels), x)


def _channels_last(g: Graph, x: Tensor) -> str:
    return g.add("Transpose", [x.name], perm=[0, 2, 3, 1])


def _channels_first(g: Graph, y: str, like: Tensor) -> Tensor:
    return Tensor(g.add("Transpose", [y], perm=[0, 3, 1, 2]), like.channels, like.side)
