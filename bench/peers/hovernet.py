"""Hover-Net's fast variant (Graham et al. 2019, doi 10.1016/j.media.2019.101563).

A pre-activation ResNet-50 that keeps the full resolution in its first stage, and three decoders of
densely connected units without padding, for classes, nuclear pixels, and horizontal and vertical
distances. The output covers the central 164 of 256 pixels.
"""

from __future__ import annotations

import numpy as np
import onnx

from bench.peers.graph import Graph, Tensor

SIDE, MIDDLE = 256, 164
_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
"""Units, width and stride of each stage of the encoder; its output is four times as wide."""
_DECODERS = {"class_logits": 6, "pixel_logits": 2, "distances": 2}
_DENSE_WIDTH, _DENSE_GROWTH, _DENSE_GROUPS = 128, 32, 4


def build() -> tuple[onnx.ModelProto, int]:
    """Build the network, with outputs [1, 6 or 2, 164, 164]; also returns its parameter count."""
    g = Graph(SIDE)
    levels = _encoder(g)
    outputs = {name: _decoder(g, levels, channels) for name, channels in _DECODERS.items()}
    return g.model(**outputs), g.parameters


def _encoder(g: Graph) -> list[Tensor]:
    """Features of the stages, from fine to coarse."""
    scale = g.constant(np.float32(1 / 255))
    x = Tensor(g.add("Mul", [g.image.name, scale]), 3, SIDE)
    x = _activated(g, g.conv(x, 64, 7, bias=False))
    levels = []
    for units, width, stride in _STAGES:
        shortcut = g.conv(x, 4 * width, 1, stride=stride, bias=False)
        for unit in range(units):
            # The first unit uses the normalisation of the previous stage.
            y = _activated(g, x) if unit else x
            y = _activated(g, g.conv(y, width, 1, bias=False))
            y = _activated(g, g.conv(y, width, 3, stride=1 if unit else stride, bias=False))
            x = shortcut = g.sum(g.conv(y, 4 * width, 1, bias=False), shortcut)
        x = _activated(g, x)
        levels.append(x)
    levels[-1] = g.conv(x, 1024, 1, bias=False)
    return levels


def _decoder(g: Graph, levels: list[Tensor], channels: int) -> Tensor:
    fine, middle, coarse, x = levels
    x = _dense(g, _joined(g, x, coarse), 256, units=8)
    x = _dense(g, _joined(g, x, middle), 128, units=4)
    x = g.conv(_joined(g, x, fine), 64, 3, bias=False)
    return g.conv(_activated(g, x), channels, 1)


def _joined(g: Graph, x: Tensor, skipped: Tensor) -> Tensor:
    x = g.upsample(x)
    return g.sum(x, g.crop(skipped, x.side))


def _dense(g: Graph, x: Tensor, width: int, *, units: int) -> Tensor:
    x = g.conv(x, width, 3, bias=False, padded=False)
    for _ in range(units):
        y = _activated(g, g.conv(_activated(g, x), _DENSE_WIDTH, 1, bias=False))
        y = g.conv(y, _DENSE_GROWTH, 3, groups=_DENSE_GROUPS, bias=False, padded=False)
        x = g.concat(g.crop(x, y.side), y)
    return g.conv(_activated(g, x), x.channels, 1, bias=False)


def _activated(g: Graph, x: Tensor) -> Tensor:
    return g.activation(g.batch_norm(x), "Relu")
