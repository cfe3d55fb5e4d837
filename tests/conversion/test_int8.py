"""The INT8 graph: what is quantised, how close it stays, and that TensorRT accepts it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import onnx
import pytest

from conversion import parity, runtimes, tensorrt_engine
from conversion.__main__ import main
from conversion.errors import ConversionError
from conversion.fp16 import to_fp16
from conversion.int8 import calibration_patches, to_int8
from conversion.model_io import INPUT

REPOSITORY = Path(__file__).parents[2] / "model_repository"


@pytest.fixture(scope="module")
def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    return to_fp16(to_int8(model, parity.tiles()[:6]))


def test_dense_convolutions_alone_are_quantised(quantised: onnx.ModelProto) -> None:
    producers = {name: node for node in quantised.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in quantised.graph.initializer}
    seen: Counter[bool] = Counter()
    for node in quantised.graph.node:
        if node.op_type != "Conv":
            continue
        sources = [producers.get(name) for name in node.input[:2]]
        integer = all(source and source.op_type == "DequantizeLinear" for source in sources)
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        weight = sources[1].input[0] if integer else node.input[1]
        assert integer == (groups == 1 and min(constants[weight].dims[:2]) >= 16), node.name
        seen[integer] += 1
    assert min(seen[True], seen[False]) > 30
    points = [n for n in quantised.graph.node if n.op_type == "QuantizeLinear"]
    assert all(not np.any(onnx.numpy_helper.to_array(constants[n.input[2]])) for n in points)


GATED = """
<ir_version: 9, opset_import: ["": 18]>
network (uint8[1, 256, 256, 3] image) => (float[1, 16, 256, 256] out) {
    floats = Cast <to = 1> (image)
    planes = Transpose <perm = [0, 3, 1, 2]> (floats)
    stem = Conv (planes, narrow)
    open = Sigmoid (stem)
    swish = Mul (stem, open)
    dense = Conv (swish, wide)
    pooled = GlobalAveragePool (dense)
    gate = Sigmoid (pooled)
    gated = Mul (dense, gate)
    out = Conv (gated, wide)
}
"""


def test_what_a_gate_scales_is_not_quantised() -> None:
    model = onnx.parser.parse_model(GATED)
    model.graph.input[0].name = INPUT
    model.graph.node[0].input[0] = INPUT
    kernels = np.random.default_rng(0).normal(size=(16, 16, 1, 1)).astype(np.float32)
    for name, kernel in (("narrow", kernels[:, :3]), ("wide", kernels)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(kernel.copy(), name))

    graph = to_int8(model, parity.tiles()[:2]).graph

    makers = {name: node.op_type for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    integer = {node.output[0] for node in convolutions if "Dequantize" in makers[node.input[0]]}
    assert integer == {"dense"}


def test_int8_stays_close(
    quantised: onnx.ModelProto,
    reference: runtimes.Outputs,
    served: parity.Served,
    tmp_path: Path,
) -> None:
    path = tmp_path / "int8.onnx"
    onnx.save(quantised, path)
    found = runtimes.infer(runtimes.onnx_runtime(path), parity.tiles())

    result = parity.compare("INT8", reference, found, parity.INT8, served)

    assert result.failures == ()
    assert result.panoptic_quality < 1


def test_the_int8_graph_builds(quantised: onnx.ModelProto, rtx: ModuleType) -> None:
    assert len(tensorrt_engine.build(rtx, quantised.SerializeToString())) > 3_000_000


def test_patches_are_cut_from_all_images(tmp_path: Path) -> None:
    for shade in range(3):
        image = np.full((600, 300, 3), (0, 0, 80 * shade), np.uint8)  # BGR
        cv2.imwrite(str(tmp_path / f"{shade}.png"), image)

    patches = calibration_patches(tmp_path)

    assert patches.shape == (6, 256, 256, 3)
    assert patches[:, 0, 0].tolist() == [[s, 0, 0] for s in (0, 0, 80, 80, 160, 160)]


def test_only_images_that_give_patches_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 patches of a folder as large as a data set: the rest of it is not held in memory."""
    for number in range(130):
        cv2.imwrite(str(tmp_path / f"{number:03}.png"), np.full((256, 256, 3), number, np.uint8))
    decoded = []
    read = cv2.imread
    monkeypatch.setattr(cv2, "imread", lambda path, *how: decoded.append(path) or read(path, *how))

    patches = calibration_patches(tmp_path)

    assert len(decoded) == len(patches) == 64
    assert patches[[0, 1, -1], 0, 0, 0].tolist() == [0, 2, 129]


def test_a_folder_without_images(
    tmp_path: Path, saved_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((100, 300, 3), np.uint8))
    arguments = ["--saved-model", str(saved_model), "--repository", str(REPOSITORY)]
    arguments += ["--out", str(tmp_path / "out"), "--targets", "cpu", "--int8"]

    assert main([*arguments, str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"conversion: {tmp_path} holds no image of at least 256 x 256 pixels (.png, .jpg, .jpeg, "
        ".tif, .tiff): INT8 needs some to measure its scales.\n"
    )
    with pytest.raises(ConversionError, match="There is no folder nowhere"):
        calibration_patches(Path("nowhere"))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ConversionError, match=r"broken.png cannot be read as an image"):
        calibration_patches(tmp_path)
