"""Rewrites of an ONNX graph that make it faster without changing its results.

`upsampling_to_convolutions`: runtimes have no fast kernel for transposed convolutions with few
output channels. With stride 2 and a kernel of 3, each output pixel depends on at most 2 x 2 input
pixels, so an ordinary 2 x 2 convolution computes the four phases of the output as channels, and a
depth-to-space interleaves them.

`transposes_to_outputs`: the nodes after the last convolution (bias, softmax, rounding) work with
the channels in any position. With the transpose moved behind them, softmax runs over planes instead
of groups of six. The transpose stays before the cast to uint8, a type that TensorRT accepts only
for outputs. If the nodes end in the opposite transpose, both are dropped.

`repetitions`: enlarging by a whole factor without interpolation is the same in all of ONNX's
conventions. TensorFlow's own was removed from the standard.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

_CHANNELS_LAST = [0, 2, 3, 1]
_CHANNELS_FIRST = [0, 3, 1, 2]
_PHASES = 4


def upsampling_to_convolutions(model: onnx.ModelProto) -> None:
    """Replace every 3 x 3 transposed convolution of stride 2, in place."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for index, node in enumerate(graph.node):
        if node.op_type != "ConvTranspose" or not _doubles(node):
            continue
        kernel = numpy_helper.to_array(weights[node.input[1]])
        name = node.output[0]
        graph.initializer.append(numpy_helper.from_array(_phases(kernel), f"{name}/phases"))
        inputs = [node.input[0], f"{name}/phases"]
        if len(node.input) > 2:
            bias = np.repeat(numpy_helper.to_array(weights[node.input[2]]), _PHASES)
            graph.initializer.append(numpy_helper.from_array(bias, f"{name}/bias"))
            inputs.append(f"{name}/bias")
        node.CopyFrom(
            helper.make_node(
                "Conv", inputs, [f"{name}/planes"], kernel_shape=[2, 2], pads=[1, 1, 0, 0]
            )
        )
        graph.node.insert(
            index + 1,
            helper.make_node("DepthToSpace", [f"{name}/planes"], [name], blocksize=2, mode="CRD"),
        )
    _drop_unused_weights(graph)


def _doubles(node: onnx.NodeProto) -> bool:
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return (
        found.get("strides") == [2, 2]
        and found.get("kernel_shape") == [3, 3]
        and found.get("pads") == [0, 0, 1, 1]
        and found.get("group", 1) == 1
        and found.get("dilations", [1, 1]) == [1, 1]
    )


def _phases(kernel: np.ndarray) -> np.ndarray:
    """Turn the transposed convolution's kernel [in, out, 3, 3] into [4 * out, in, 2, 2]."""
    # Even output rows depend on input rows i - 1 (tap 2) and i (tap 0), odd ones on i (tap 1).
    taps = np.zeros((2, 2, 3), kernel.dtype)  # phase, row of the new kernel, tap
    taps[0, 0, 2] = taps[0, 1, 0] = taps[1, 1, 1] = 1
    phases = np.einsum("iokl,amk,bnl->oabimn", kernel, taps, taps)
    return np.ascontiguousarray(phases.reshape(-1, kernel.shape[0], 2, 2))


def transposes_to_outputs(model: onnx.ModelProto) -> None:
    """Move transposes to channels-last behind the pixelwise nodes after them, in place."""
    graph = model.graph
    transposes = [node for node in graph.node if node.op_type == "Transpose"]
    for transpose in [node for node in transposes if _order(node) == _CHANNELS_LAST]:
        for user in _users(graph, transpose.output[0]):
            chain = _pixelwise_chain(graph, transpose, user)
            if not chain:
                continue
            last = chain[-1]
            result = last.output[0]
            user.input[list(user.input).index(transpose.output[0])] = transpose.input[0]
            for node in chain:
                _to_channels_first(graph, node)
            ends = _users(graph, result)
            if ends[0].op_type == "Transpose":
                for end in ends:
                    _replace(graph, end.output[0], result)
                    graph.node.remove(end)
                continue
            last.output[0] = f"{result}/channels_first"
            moved = helper.make_node("Transpose", [last.output[0]], [result], perm=_CHANNELS_LAST)
            graph.node.insert(list(graph.node).index(last) + 1, moved)
        if not _users(graph, transpose.output[0]):
            graph.node.remove(transpose)


def _users(graph: onnx.GraphProto, tensor: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if tensor in node.input]


def _replace(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in _users(graph, old):
        node.input[:] = [new if name == old else name for name in node.input]


def _order(transpose: onnx.NodeProto) -> list[int]:
    return list(helper.get_attribute_value(transpose.attribute[0]))


def _pixelwise_chain(
    graph: onnx.GraphProto, transpose: onnx.NodeProto, node: onnx.NodeProto
) -> list[onnx.NodeProto]:
    """The nodes after a transpose to channels-last that work pixel by pixel, from `node` on.

    They end before a cast, or before the opposite transpose.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    chain: list[onnx.NodeProto] = []
    tensor = transpose.output[0]
    while True:
        others = [name for name in node.input if name != tensor]
        if node.op_type in ("Add", "Mul"):
            # A vector with a value per channel, or a scalar.
            if any(name not in weights or len(weights[name].dims) > 1 for name in others):
                return []
        elif node.op_type == "Softmax":
            if helper.get_attribute_value(node.attribute[0]) not in (-1, 3):
                return []
        elif node.op_type == "Cast":
            return chain
        elif node.op_type == "Transpose":
            return chain if _order(node) == _CHANNELS_FIRST else []
        elif node.op_type not in ("Round", "Log"):
            return []
        chain.append(node)
        tensor = node.output[0]
        users = _users(graph, tensor)
        if len(users) != 1:
            return []
        (node,) = users


def _to_channels_first(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    if node.op_type == "Softmax":
        node.attribute[0].i = 1
        return
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for number, name in enumerate(node.input):
        if name in weights and len(weights[name].dims) == 1:
            vector = numpy_helper.to_array(weights[name]).reshape(-1, 1, 1)
            node.input[number] = f"{name}/channels_first"
            graph.initializer.append(numpy_helper.from_array(vector, node.input[number]))
    _drop_unused_weights(graph)


def repetitions(model: onnx.ModelProto) -> None:
    """Give every resize in TensorFlow's convention for nearest neighbours a common one, in place.

    All enlarge by whole factors.
    """
    for node in model.graph.node:
        convention = {"coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor"}
        if any(attribute.s == b"tf_half_pixel_for_nn" for attribute in node.attribute):
            for attribute in node.attribute:
                if attribute.name in convention:
                    attribute.s = convention[attribute.name]


def _drop_unused_weights(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
