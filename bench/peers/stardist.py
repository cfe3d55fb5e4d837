"""Two StarDist networks (Schmidt et al., MICCAI 2018, doi 10.1007/978-3-030-00934-2_30).

The published H&E network is a small U-Net at half resolution without classes. The one that papers
on PanNuke compare with, here as in CPP-Net's (doi 10.1109/TIP.2023.3237013), has a ResNet-50 and
separate decoders for polygons and classes. Both predict 32 distances per pixel.
"""

from __future__ import annotations

import onnx

from bench.peers.graph import Graph, Tensor

RAYS = 32
_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
"""Units, width and stride of each stage of the ResNet; its output is four times as wide."""
_CLASSES = 6


def he(side: int = 1024) -> tuple[onnx.ModelProto, int]:
    """Build the published H&E network, with outputs of half the side; also its parameter count."""
    g = Graph(side)
    x = g.max_pool(_convolved(g, g.image, 32, 32))
    skipped = []
    for width in (32, 64, 128):
        skipped.append(_convolved(g, x, width, width))
        x = g.max_pool(skipped[-1])
    x = _convolved(g, x, 256, 128)
    for width in (128, 64, 32):
        x = _convolved(g, g.concat(g.upsample(x), skipped.pop()), width, max(32, width // 2))
    x = _convolved(g, x, 128)
    probability = g.activation(g.conv(x, 1, 1), "Sigmoid")
    return g.model(probability=probability, distances=g.conv(x, RAYS, 1)), g.parameters


def _convolved(g: Graph, x: Tensor, *widths: int) -> Tensor:
    for width in widths:
        x = g.activation(g.conv(x, width, 3), "Relu")
    return x


def resnet(side: int = 256) -> tuple[onnx.ModelProto, int]:
    """Build the network of the comparisons, with outputs of half the side; as in `he`."""
    g = Graph(side)
    levels = encoder(g)
    x = polygon_features(g, levels)
    distances = g.activation(g.conv(x, RAYS, 1), "Relu")
    outputs = {"distances": distances, "probability": probability(g, x)}
    return g.model(**outputs, class_probs=class_probs(g, levels)), g.parameters


def encoder(g: Graph) -> list[Tensor]:
    """Features of a ResNet-50 without pooling, at 1/2, 1/4, 1/8 and 1/16 of the resolution."""

    def normal(x: Tensor, width: int, kernel: int, stride: int = 1) -> Tensor:
        return g.batch_norm(g.conv(x, width, kernel, stride=stride, bias=False))

    def active(*x: Tensor) -> Tensor:
        return g.activation(g.sum(*x) if len(x) > 1 else x[0], "Relu")

    x = active(normal(g.image, 64, 7, 2))
    levels = []
    for units, width, stride in _STAGES:
        shortcut = normal(x, 4 * width, 1, stride)
        for unit in range(units):
            y = active(normal(x, width, 1))
            y = active(normal(y, width, 3, 1 if unit else stride))
            x = shortcut = active(normal(y, 4 * width, 1), shortcut)
        levels.append(x)
    return levels


def polygon_features(g: Graph, levels: list[Tensor]) -> Tensor:
    """Features from which distances and probability are computed, 256 channels."""
    return g.conv(_decoder(g, levels), 256, 3)


def probability(g: Graph, features: Tensor) -> Tensor:
    """Probability that a pixel is a nucleus' centre."""
    return g.activation(g.conv(features, 1, 1), "Sigmoid")


def class_probs(g: Graph, levels: list[Tensor]) -> Tensor:
    """Probabilities of background and five classes, by a separate decoder."""
    return g.activation(g.conv(_decoder(g, levels), _CLASSES, 1), "Softmax", axis=1)


def _decoder(g: Graph, levels: list[Tensor]) -> Tensor:
    *finer, x = levels
    for skipped in reversed(finer):
        x = g.concat(skipped, g.upsample(x, bilinear=True))
        for _ in range(2):
            x = g.conv(x, skipped.channels, 3)
            x = g.activation(g.group_norm(x, skipped.channels // 8), "Elu")
    return x
