"""CPP-Net (Chen et al., IEEE Transactions on Image Processing 2023, doi 10.1109/TIP.2023.3237013).

StarDist's network with the ResNet-50, and what each pixel says of its polygon is corrected by six
more pixels on the way along every ray: their own distances count with a learned confidence.
"""

from __future__ import annotations

import numpy as np
import onnx

from bench.peers.graph import Graph, Tensor
from bench.peers.stardist import RAYS, class_probs, encoder, polygon_features, probability

_SAMPLES = 6


def build(side: int = 256) -> tuple[onnx.ModelProto, int]:
    """The network, outputs of half the side, and its number of parameters."""
    g = Graph(side)
    levels = encoder(g)
    x = polygon_features(g, levels)
    distances = refined(g, g.conv(x, RAYS, 1), g.conv(x, RAYS, 1))
    outputs = {"distances": distances, "probability": probability(g, x)}
    return g.model(**outputs, class_probs=class_probs(g, levels)), g.parameters


def refined(g: Graph, distance: Tensor, confidence: Tensor) -> Tensor:
    """Distances to the boundary, each a mean of the pixel's own and of those along its ray.

    Both inputs have a channel per ray. Rays stand where batches do, and the samples of a ray below
    one another: one `GridSample` reads the distances and confidences of all.
    """
    side = distance.side

    def shaped(name: str, *shape: int) -> str:
        return g.add("Reshape", [name, g.constant(np.array(shape))])

    own = [shaped(x.name, RAYS, 1, side, side) for x in (distance, confidence)]
    part = np.arange(1, _SAMPLES + 1, dtype=np.float32)[None, :, None, None] / _SAMPLES
    travelled = g.add("Mul", [own[0], g.constant(part)])  # [rays, samples, side, side]
    places = [
        shaped(name, RAYS, _SAMPLES * side, side, 1) for name in _coordinates(g, travelled, side)
    ]
    maps, grid = g.add("Concat", own, axis=1), g.add("Concat", places, axis=3)
    found = g.add("GridSample", [maps, grid], mode="nearest")
    found = shaped(found, RAYS, 2, _SAMPLES, side, side)
    rest, trust = (g.add("Gather", [found, g.constant(np.array(i))], axis=1) for i in range(2))
    candidates = g.add("Concat", [own[0], g.add("Add", [rest, travelled])], axis=1)
    beliefs = Tensor(g.add("Concat", [own[1], trust], axis=1), 1 + _SAMPLES, side)
    weights = g.activation(g.conv(beliefs, 1 + _SAMPLES, 1), "Softmax", axis=1)
    weighted = g.add("Mul", [candidates, weights.name])
    mean = g.add("ReduceSum", [weighted, g.constant(np.array([1]))])
    return g.activation(Tensor(shaped(mean, 1, RAYS, side, side), RAYS, side), "Relu")


def _coordinates(g: Graph, travelled: str, side: int) -> tuple[str, str]:
    """Columns and rows of the samples, -1 to 1 from edge to edge."""
    angles = np.arange(RAYS, dtype=np.float32)[:, None, None, None] * (2 * np.pi / RAYS)
    centres = (2 * np.arange(side, dtype=np.float32) + 1) / side - 1

    def along(direction: np.ndarray, start: np.ndarray) -> str:
        step = g.constant((direction * 2 / side).astype(np.float32))
        return g.add("Add", [g.add("Mul", [travelled, step]), g.constant(start)])

    return along(np.cos(angles), centres[None, :]), along(np.sin(angles), centres[:, None])
