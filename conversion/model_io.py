"""Names, types and shapes of the tensors that every form of the network keeps."""

from __future__ import annotations

from typing import Final

import numpy as np

TILE: Final = 256
INPUT: Final = "image"
OUTPUTS: Final[dict[str, tuple[type, tuple[int, ...]]]] = {
    "class_probs": (np.uint8, (TILE, TILE, -1)),
    "boundary_prob": (np.uint8, (TILE, TILE)),
    "tissue_probs": (np.float32, (19,)),
}
"""Type and shape of each output without the batch dimension; -1 is number of classes plus one."""

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
