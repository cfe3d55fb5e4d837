"""Names, types and shapes of the tensors that every form of the network keeps."""

from __future__ import annotations

from typing import Final

import numpy as np

TILE: Final = 256
GRID: Final = 64
"""Side of the grid of features."""
INPUT: Final = "image"
OUTPUTS: Final[dict[str, tuple[type, tuple[int, ...]]]] = {
    "class_probs": (np.uint8, (TILE, TILE, -1)),
    "boundary_prob": (np.uint8, (TILE, TILE)),
    "tissue_probs": (np.float32, (19,)),
    "features": (np.float16, (GRID, GRID, -1)),
}
"""Type and shape of each output without the batch dimension; -1 depends on the network."""
THINNING: Final = 8
"""Forms of the network are compared at every so many-th place of the features' grid."""
COMPARED: Final = OUTPUTS | {"features": (np.float16, (GRID // THINNING, GRID // THINNING, -1))}
"""The outputs that `conversion.runtimes.infer` returns."""

INPUT_SHAPE: Final = (TILE, TILE, 3)
BATCH_MIN, BATCH_BEST, BATCH_MAX = 1, 8, 32

PLAN: Final = "model.plan"
"""TensorRT's engine."""
ENGINE_SOURCE: Final = "engine.onnx"
"""The ONNX file that engines are built from, next to ``model.onnx``."""
PARITY_DATA: Final = "engine.parity.npz"
"""The answers that engines must give; see `conversion.parity_data`."""


def has_shape(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a shape is the wanted one, in which -1 stands for any known size."""
    return len(found) == len(wanted) and all(
        size == want or (want == -1 and size > 0) for size, want in zip(found, wanted, strict=True)
    )
