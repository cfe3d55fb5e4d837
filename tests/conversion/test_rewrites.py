"""Rewritten graphs compute what the original computes, and hold what runtimes are fast at."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from conversion.rewrites import repetitions, transposes_to_outputs, upsampling_to_convolutions


def _model(
    nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], output: int, channels: int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, 7, 5])],
        [helper.make_tensor_value_info("y", output, ["N", "A", "B", "C"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("biased", [True, False])
def test_a_transposed_convolution_becomes_an_equal_convolution(biased: bool) -> None:
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32)}
    if biased:
        weights["b"] = rng.normal(size=3).astype(np.float32)
    upsampling = helper.make_node(
        "ConvTranspose",
        ["x", *weights],
        ["y"],
        strides=[2, 2],
        kernel_shape=[3, 3],
        pads=[0, 0, 1, 1],
    )
    model = _model([upsampling], weights, TensorProto.FLOAT, channels=4)
    x = rng.normal(size=(2, 4, 7, 5)).astype(np.float32)
    expected = _run(model, x)

    upsampling_to_convolutions(model)

    assert [node.op_type for node in model.graph.node] == ["Conv", "DepthToSpace"]
    assert not {tensor.name for tensor in model.graph.initializer} & weights.keys()
    np.testing.assert_allclose(_run(model, x), expected, atol=1e-5)


def test_another_transposed_convolution_is_left_alone() -> None:
    weights = {"w": np.ones((4, 3, 2, 2), np.float32)}
    upsampling = helper.make_node(
        "ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], kernel_shape=[2, 2]
    )
    model = _model([upsampling], weights, TensorProto.FLOAT, channels=4)

    upsampling_to_convolutions(model)

    assert [node.op_type for node in model.graph.node] == ["ConvTranspose"]


def test_a_transpose_moves_to_the_cast() -> None:
    rng = np.random.default_rng(0)
    weights = {
        "bias": rng.normal(size=6).astype(np.float32),
        "scale": np.array(255, np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Add", ["t", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probability"], axis=-1),
        helper.make_node("Mul", ["scale", "probability"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["y"], to=TensorProto.UINT8),
    ]
    model = _model(nodes, weights, TensorProto.UINT8, channels=6)
    x = rng.normal(size=(2, 6, 7, 5)).astype(np.float32)
    expected = _run(model, x)

    transposes_to_outputs(model)

    assert [node.op_type for node in model.graph.node][-2:] == ["Transpose", "Cast"]
    assert np.abs(_run(model, x).astype(int) - expected).max() <= 1


def test_opposite_transposes_vanish() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Softmax", ["last"], ["shares"], axis=-1),
        helper.make_node("Add", ["shares", "floors"], ["floored"]),
        helper.make_node("Log", ["floored"], ["logs"]),
        helper.make_node("Transpose", ["logs"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Relu", ["first"], ["y"]),
    ]
    floors = np.array([0.5, 1, 2], np.float32)
    model = _model(nodes, {"floors": floors}, TensorProto.FLOAT, channels=3)
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 5)).astype(np.float32)
    expected = _run(model, x)

    transposes_to_outputs(model)

    assert [node.op_type for node in model.graph.node] == ["Softmax", "Add", "Log", "Relu"]
    np.testing.assert_allclose(_run(model, x), expected, atol=1e-6)


def test_a_repetition_gets_a_common_convention() -> None:
    resize = helper.make_node(
        "Resize",
        ["x", "", "scales"],
        ["y"],
        mode="nearest",
        coordinate_transformation_mode="tf_half_pixel_for_nn",
    )
    scales = {"scales": np.array([1, 1, 2, 2], np.float32)}
    model = _model([resize], scales, TensorProto.FLOAT, channels=3)
    repetitions(model)
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 5)).astype(np.float32)
    np.testing.assert_array_equal(_run(model, x), x.repeat(2, axis=2).repeat(2, axis=3))
    assert b"tf_half_pixel_for_nn" not in [found.s for found in model.graph.node[0].attribute]


def test_the_converted_network_is_rewritten(model: onnx.ModelProto) -> None:
    producers = {output: node for node in model.graph.node for output in node.output}

    assert not any(node.op_type == "ConvTranspose" for node in model.graph.node)
    assert producers["class_probs"].op_type == "Cast"
    assert producers[producers["class_probs"].input[0]].op_type == "Transpose"
