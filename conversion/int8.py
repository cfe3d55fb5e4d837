"""Convert the dense convolutions of float32 ONNX to INT8, by explicit Q/DQ nodes.

TensorRT supports INT8 only through such nodes; OpenVINO and ONNX Runtime understand them, too.
Scales are symmetric, one per output channel for weights and one per tensor for activations, the
latter measured on the user's images. Convolutions of fewer than 16 channels (stem, squeeze-excite,
heads) and depthwise ones stay as they are: INT8 would cost accuracy there and save little. So do
those behind a squeeze-excite gate: it scales the channels so far apart that one scale for all of
them leaves little of the small ones.
"""

from __future__ import annotations

import tempfile
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from PIL import Image

from conversion.errors import ConversionError
from conversion.model_io import INPUT, TILE

_MOST_PATCHES = 64
_FEWEST_CHANNELS = 16
_OPSET = 19  # the first opset with float16 scales
_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def to_int8(model: onnx.ModelProto, patches: np.ndarray) -> onnx.ModelProto:
    """Return a copy of a float32 model with Q/DQ nodes around its dense convolutions.

    Parameters
    ----------
    model
        As `conversion.to_onnx.convert` makes it; left as it is.
    patches
        uint8 [N, 256, 256, 3], what the network will see; their activations set the scales.

    Returns
    -------
    onnx.ModelProto
        The same tensors in and out; float32 between the Q/DQ nodes, for `conversion.fp16.to_fp16`.
    """
    named = onnx.ModelProto()
    named.CopyFrom(model)
    for number, node in enumerate(named.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    # The graph is already optimised; without this mark ONNX Runtime advises doing so.
    onnx.helper.set_model_props(named, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(named, source)
        quantize_static(
            source,
            target,
            _Patches(patches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=_dense_convolutions(named.graph),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                # TensorRT has no INT32 biases, and fuses the nodes after a convolution into it.
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["Conv"],
            },
        )
        quantised = onnx.load(target)
    quantised = onnx.version_converter.convert_version(quantised, _OPSET)
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def calibration_patches(folder: Path) -> np.ndarray:
    """Patches of the images in a folder, evenly spread over them.

    Parameters
    ----------
    folder
        Holds H&E images of 0.25 mpp, each at least 256 pixels high and wide.

    Returns
    -------
    np.ndarray
        uint8 [N, 256, 256, 3], RGB, at most 64.

    Raises
    ------
    ConversionError
        If there is no such folder or no image in it that can be used.
    """
    if not folder.is_dir():
        raise ConversionError(f"There is no folder {folder}: name one of H&E images with --int8.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _IMAGES)
    places = [(path, corner) for path in paths for corner in _corners(path)]
    if not places:
        raise ConversionError(
            f"{folder} holds no image of at least {TILE} x {TILE} pixels "
            f"({', '.join(_IMAGES)}): INT8 needs some to measure its scales."
        )
    chosen = np.linspace(0, len(places) - 1, min(len(places), _MOST_PATCHES)).astype(int)
    by_image = groupby((places[i] for i in chosen), key=itemgetter(0))
    return np.stack([p for path, group in by_image for p in _cut(path, [at for _, at in group])])


def _corners(path: Path) -> list[tuple[int, int]]:
    """Top and left of each patch of an image; only its header is read."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise _unreadable(path) from error
    return [
        (top, left)
        for top in range(0, height - TILE + 1, TILE)
        for left in range(0, width - TILE + 1, TILE)
    ]


def _cut(path: Path, corners: list[tuple[int, int]]) -> list[np.ndarray]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise _unreadable(path)
    return [image[top : top + TILE, left : left + TILE].copy() for top, left in corners]


def _unreadable(path: Path) -> ConversionError:
    return ConversionError(f"{path} cannot be read as an image: repair it or take it away.")


def _dense_convolutions(graph: onnx.GraphProto) -> list[str]:
    """Names of the ungrouped, ungated convolutions with enough input and output channels."""
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    names = []
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        dense = groups == 1 and min(weights[node.input[1]][:2]) >= _FEWEST_CHANNELS
        if dense and not _gated(node.input[0], makers):
            names.append(node.name)
    return names


def _gated(tensor: str, makers: dict[str, onnx.NodeProto]) -> bool:
    """Whether a tensor is a product with a sigmoid of another one, which a swish is not."""
    node = makers.get(tensor)
    if node is None or node.op_type != "Mul":
        return False
    factors = [makers[name] for name in node.input if name in makers]
    return any(maker.op_type == "Sigmoid" and maker.input[0] not in node.input for maker in factors)


class _Patches(CalibrationDataReader):
    """Hands ONNX Runtime one patch after another."""

    def __init__(self, patches: np.ndarray) -> None:
        self._left = iter(patches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        patch = next(self._left, None)
        return None if patch is None else {INPUT: patch[None]}
