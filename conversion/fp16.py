"""Convert float32 ONNX to float16 where that is safe.

The following stay float32: everything before the first spatial convolution (logarithm, min-max
scaling and resize of the stain step, as float16 has 11 bits and a stain is a difference of
logarithms), softmax and logarithms, everything else after the last convolution of each output that
is not float16 itself (sigmoid, rounding), and the global means of squeeze-excite (a sum over 16,384
pixels overflows float16 if a runtime accumulates in it). A 1 x 1 convolution of few channels, which
computes with the probabilities of classes, is not a last one. Inputs and outputs keep their types.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_CONVOLUTIONS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_KEPT_OPERATORS = ("ReduceMean", "Softmax", "Log")
_MOST_CLASSES = 31  # and background
_ALWAYS_FLOAT32 = {"Resize": (1, 2)}  # region of interest and scales: float32 by the standard
_SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
_LARGEST = float(np.finfo(np.float16).max)


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float16 copy of a float32 model.

    Parameters
    ----------
    model
        As returned by `conversion.to_onnx.convert`; not modified.

    Returns
    -------
    onnx.ModelProto
        The same inputs and outputs, with float16 weights and arithmetic in the network's body.
    """
    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    for number, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
    kept = _input_side(graph) | _output_side(graph)
    kept |= {node.name for node in graph.node if node.op_type in _KEPT_OPERATORS}

    rewriter = _Rewriter(
        weights={tensor.name: tensor for tensor in graph.initializer},
        floats={
            value.name
            for value in (*graph.input, *graph.value_info, *graph.output)
            if value.type.tensor_type.elem_type == TensorProto.FLOAT
        },
    )
    for node in graph.node:
        rewriter.add(node, float16=node.name not in kept)
    converted = helper.make_model(
        helper.make_graph(
            rewriter.nodes,
            graph.name,
            graph.input,
            graph.output,
            initializer=list(rewriter.constants.values()),
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
    )
    converted = onnx.shape_inference.infer_shapes(converted)
    onnx.checker.check_model(converted, full_check=True)
    return converted


@dataclass
class _Rewriter:
    """Rebuilds a graph node by node, inserting casts where float32 and float16 meet.

    Attributes
    ----------
    weights
        The float32 model's constants.
    floats
        Names of the float32 model's other float32 tensors.
    nodes, constants
        The new graph so far.
    halves
        Tensors of the new graph that are float16.
    """

    weights: dict[str, TensorProto]
    floats: set[str]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    halves: set[str] = field(default_factory=set)
    _cast: dict[tuple[str, bool], str] = field(default_factory=dict)

    def add(self, node: onnx.NodeProto, *, float16: bool) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        always = _ALWAYS_FLOAT32.get(node.op_type, ())
        for number, name in enumerate(node.input):
            half = float16 and number not in always
            if name in self.weights:
                copy.input[number] = self._constant(name, half)
            elif name in self.floats:
                copy.input[number] = self._tensor(name, half)
        self.nodes.append(copy)
        if float16:
            self.halves.update(name for name in node.output if name in self.floats)

    def _constant(self, name: str, half: bool) -> str:
        tensor = self.weights[name]
        half = half and tensor.data_type == TensorProto.FLOAT
        new_name = f"{name}/float16" if half else name
        if new_name not in self.constants:
            if half:
                tensor = numpy_helper.from_array(_halved(numpy_helper.to_array(tensor)), new_name)
            self.constants[new_name] = tensor
        return new_name

    def _tensor(self, name: str, half: bool) -> str:
        if (name in self.halves) == half:
            return name
        if (name, half) not in self._cast:
            cast = f"{name}/float{16 if half else 32}"
            to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
            self.nodes.append(helper.make_node("Cast", [name], [cast], name=cast, to=to))
            self._cast[name, half] = cast
        return self._cast[name, half]


def _halved(values: np.ndarray) -> np.ndarray:
    """Round to float16; values too small become the smallest number of their sign, not zero."""
    tiny = (values != 0) & (np.abs(values) < _SMALLEST)
    values = np.where(tiny, np.copysign(_SMALLEST, values), values)
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float16)


def _input_side(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that the first spatial convolution depends on."""
    producers = {tensor: node for node in graph.node for tensor in node.output}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    first = next(
        node
        for node in graph.node
        if node.op_type == "Conv" and max(weights[node.input[1]].dims[2:]) > 1
    )
    return _walk_back([first.input[0]], producers, stop=set())


def _output_side(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes between the last convolutions and the outputs."""
    producers = {tensor: node for node in graph.node for tensor in node.output}
    outputs = [o.name for o in graph.output if o.type.tensor_type.elem_type != TensorProto.FLOAT16]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    last = {
        node.name
        for node in graph.node
        if node.op_type in _CONVOLUTIONS and not _is_of_classes(node, weights)
    }
    return _walk_back(outputs, producers, stop=last)


def _is_of_classes(node: onnx.NodeProto, weights: dict[str, TensorProto]) -> bool:
    kernel = weights.get(node.input[1])
    return (
        node.op_type == "Conv"
        and kernel is not None
        and list(kernel.dims[2:]) == [1, 1]
        and kernel.dims[1] <= _MOST_CLASSES
    )


def _walk_back(
    tensors: list[str], producers: dict[str, onnx.NodeProto], *, stop: set[str]
) -> set[str]:
    names: set[str] = set()
    pending = list(tensors)
    while pending:
        node = producers.get(pending.pop())
        if node is None or node.name in names or node.name in stop:
            continue
        names.add(node.name)
        pending.extend(node.input)
    return names
