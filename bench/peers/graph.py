"""Write a network as ONNX, layer by layer, with random weights.

Published networks are rebuilt to be timed, not trained. Written as ONNX they need no framework and
reach every runtime as their authors' export would: channels first, one operator per layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

_OPSET = 18


@dataclass(frozen=True)
class Tensor:
    """A feature map of the graph, float32 [1, channels, side, side]."""

    name: str
    channels: int
    side: int


class Graph:
    """A network under construction; every method adds a layer and returns its output.

    Attributes
    ----------
    image
        The input ``image``, RGB.
    parameters
        Number of trainable parameters so far.
    """

    def __init__(self, side: int) -> None:
        self.image = Tensor("image", 3, side)
        self.parameters = 0
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def conv(
        self,
        x: Tensor,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
        padded: bool = True,
    ) -> Tensor:
        """Convolution; without padding it trims ``kernel - 1`` pixels off each dimension."""
        padding = kernel // 2 if padded else 0
        shape = (channels, x.channels // groups, kernel, kernel)
        inputs = [x.name, self._weights(shape, np.sqrt(6 / np.prod(shape[1:])))]
        if bias:
            inputs.append(self._weights((channels,), 0.1))
        name = self.add("Conv", inputs, group=groups, strides=[stride] * 2, pads=[padding] * 4)
        return Tensor(name, channels, (x.side + 2 * padding - kernel) // stride + 1)

    def batch_norm(self, x: Tensor) -> Tensor:
        """Batch normalisation with fixed statistics, as after training."""
        scale, shift = self.affine((x.channels,))
        mean = self.constant(self._uniform((x.channels,), 0.1))
        variance = self.constant(1 + self._uniform((x.channels,), 0.1))
        return self._same(x, "BatchNormalization", [x.name, scale, shift, mean, variance])

    def group_norm(self, x: Tensor, groups: int) -> Tensor:
        """Group normalisation, as exporters write it: each group is an instance."""
        grouped = self.add("Reshape", [x.name, self.constant(np.array([1, groups, -1]))])
        unit = [self.constant(np.full(groups, value, np.float32)) for value in (1, 0)]
        normal = self.add("InstanceNormalization", [grouped, *unit])
        shape = np.array([1, x.channels, x.side, x.side])
        restored = self.add("Reshape", [normal, self.constant(shape)])
        scale, shift = self.affine((1, x.channels, 1, 1))
        return self._same(x, "Add", [self.add("Mul", [restored, scale]), shift])

    def layer_norm(self, name: str, channels: int) -> str:
        """Normalise [..., channels] over the channels; takes and returns a tensor's name."""
        return self.add("LayerNormalization", [name, *self.affine((channels,))], epsilon=1e-6)

    def dense(self, name: str, inputs: int, outputs: int) -> str:
        """Map [..., inputs] to [..., outputs]; takes and returns a tensor's name."""
        kernel = self._weights((inputs, outputs), np.sqrt(6 / inputs))
        product = self.add("MatMul", [name, kernel])
        return self.add("Add", [product, self._weights((outputs,), 0.1)])

    def activation(self, x: Tensor, operator: str, **attributes: int) -> Tensor:
        """``Relu``, ``Elu``, ``Sigmoid``, or ``Softmax`` with its axis."""
        return self._same(x, operator, [x.name], **attributes)

    def max_pool(self, x: Tensor) -> Tensor:
        """Maximum of each 2 x 2 pixels."""
        name = self.add("MaxPool", [x.name], kernel_shape=[2, 2], strides=[2, 2])
        return Tensor(name, x.channels, x.side // 2)

    def upsample(self, x: Tensor, *, bilinear: bool = False) -> Tensor:
        """Double the side by repeating pixels, or bilinearly with aligned corners."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        name = self.add(
            "Resize",
            [x.name, "", scales],
            mode="linear" if bilinear else "nearest",
            coordinate_transformation_mode="align_corners" if bilinear else "asymmetric",
            nearest_mode="floor",
        )
        return Tensor(name, x.channels, 2 * x.side)

    def crop(self, x: Tensor, side: int) -> Tensor:
        """Crop to the central pixels."""
        first = (x.side - side) // 2
        begin, end, axes = ([first] * 2, [first + side] * 2, [2, 3])
        inputs = [x.name, *(self.constant(np.array(each)) for each in (begin, end, axes))]
        return Tensor(self.add("Slice", inputs), x.channels, side)

    def sum(self, a: Tensor, b: Tensor) -> Tensor:
        """Sum of two feature maps of the same shape."""
        return self._same(a, "Add", [a.name, b.name])

    def concat(self, *tensors: Tensor) -> Tensor:
        """Concatenate the channels of feature maps of the same side."""
        name = self.add("Concat", [x.name for x in tensors], axis=1)
        return Tensor(name, sum(x.channels for x in tensors), tensors[0].side)

    def add(self, operator: str, inputs: Sequence[str], **attributes: object) -> str:
        """Add any ONNX operator with one output; returns the output's name."""
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        """Add a constant tensor; returns its name."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def affine(self, shape: tuple[int, ...]) -> tuple[str, str]:
        """Scale near 1 and shift near 0; exactly 1 and 0 would be optimised away."""
        self.parameters += 2 * int(np.prod(shape))
        return self.constant(1 + self._uniform(shape, 0.1)), self.constant(
            self._uniform(shape, 0.1)
        )

    def model(self, **outputs: Tensor) -> onnx.ModelProto:
        """Return the network with these outputs."""
        for name, x in outputs.items():
            self._nodes.append(helper.make_node("Identity", [x.name], [name]))
        graph = helper.make_graph(
            self._nodes,
            "peer",
            [_described("image", self.image)],
            [_described(name, x) for name, x in outputs.items()],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        model.ir_version = 10
        return model

    def _same(self, x: Tensor, operator: str, inputs: list[str], **attributes: int) -> Tensor:
        return Tensor(self.add(operator, inputs, **attributes), x.channels, x.side)

    def _weights(self, shape: tuple[int, ...], limit: float) -> str:
        self.parameters += int(np.prod(shape))
        return self.constant(self._uniform(shape, limit))

    def _uniform(self, shape: tuple[int, ...], limit: float) -> np.ndarray:
        numbers = self._random.random(shape, np.float32)
        numbers -= np.float32(0.5)
        numbers *= np.float32(2 * limit)
        return numbers


def _described(name: str, x: Tensor) -> onnx.ValueInfoProto:
    shape = (1, x.channels, x.side, x.side)
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
