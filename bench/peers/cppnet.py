"""CPP-Net (Chen et al., IEEE Transactions on Image Processing 2023, doi 10.1109/TIP.2023.3237013).

StarDist's network with a ResNet-50. Each distance is refined by six further pixels along its ray,
whose own distances are weighted by a learned confidence.
"""

from __future__ import annotations

import numpy as np
import onnx

from bench.peers.graph import Graph, Tensor
from bench.peers.stardist import RAYS, class_probs, encoder, polygon_features, probability

_SAMPLES = 6


def build(side: int = 256) -> tuple[onnx.ModelProto, int]:
    """Build the network, whose outputs have half the side; also returns its parameter count."""
    g = Graph(side)
    levels = encoder(g)
    x = polygon_features(g, levels)
    distances = refined(g, g.conv(x, RAYS, 1), g.conv(x, RAYS, 1))
    outputs = {"distances": distances, "probability": probability(g, x)}
    return g.model(**outputs, class_probs=class_probs(g, levels)), g.parameters


def refined(g: Graph, distance: Tensor, confidence: Tensor) -> Tensor:
    """Refine each distance to the boundary by a weighted mean with those along its ray.

    Both inputs have a channel per ray. Rays take the place of the batch, and the samples of a ray
    are stacked vertically, so that one `GridSample` reads all distances and confidences.
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
    """Columns and rows of the samples, from -1 to 1 between the edges."""
    angles = np.arange(RAYS, dtype=np.float32)[:, None, None, None] * (2 * np.pi / RAYS)
    centres = (2 * np.arange(side, dtype=np.float32) + 1) / side - 1

    def along(direction: np.ndarray, start: np.ndarray) -> str:
        step = g.constant((direction * 2 / side).astype(np.float32))
        return g.add("Add", [g.add("Mul", [travelled, step]), g.constant(start)])

    return along(np.cos(angles), centres[None, :]), along(np.sin(angles), centres[:, None])
