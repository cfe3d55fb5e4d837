"""Writing a network as ONNX, layer by layer, with random weights.

A published network is rebuilt here to be timed, not trained. Written as ONNX it needs no framework
and reaches every runtime as its authors' export would: channels first, one operator per layer.
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
    """A feature map float32 [1, channels, side, side] of the graph."""

    name: str
    channels: int
    side: int


class Graph:
    """One network while it is written; every method adds a layer and returns its result.

    Attributes
    ----------
    image
        Input ``image``, RGB.
    parameters
        Trainable numbers so far.
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
        """Convolution; unpadded it trims ``kernel - 1`` pixels off each dimension."""
        padding = kernel // 2 if padded else 0
        shape = (channels, x.channels // groups, kernel, kernel)
        inputs = [x.name, self._weights(shape, np.sqrt(6 / np.prod(shape[1:])))]
        if bias:
            inputs.append(self._weights((channels,), 0.1))
        name = self.add("Conv", inputs, group=groups, strides=[stride] * 2, pads=[padding] * 4)
        return Tensor(name, channels, (x.side + 2 * padding - kernel) // stride + 1)

    def batch_norm(self, x: Tensor) -> Tensor:
        """Batch normalisation with the statistics of a finished training."""
        scale, shift = self._affine((x.channels,))
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
        scale, shift = self._affine((1, x.channels, 1, 1))
        return self._same(x, "Add", [self.add("Mul", [restored, scale]), shift])

    def activation(self, x: Tensor, operator: str, **attributes: int) -> Tensor:
        """``Relu``, ``Elu``, ``Sigmoid``, or ``Softmax`` with its axis."""
        return self._same(x, operator, [x.name], **attributes)

    def max_pool(self, x: Tensor) -> Tensor:
        """Largest of each 2 x 2 pixels."""
        name = self.add("MaxPool", [x.name], kernel_shape=[2, 2], strides=[2, 2])
        return Tensor(name, x.channels, x.side // 2)

    def upsample(self, x: Tensor, *, bilinear: bool = False) -> Tensor:
        """Twice the side: each pixel repeated, or interpolated between corners that stay."""
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
        """The middle."""
        first = (x.side - side) // 2
        begin, end, axes = ([first] * 2, [first + side] * 2, [2, 3])
        inputs = [x.name, *(self.constant(np.array(each)) for each in (begin, end, axes))]
        return Tensor(self.add("Slice", inputs), x.channels, side)

    def sum(self, a: Tensor, b: Tensor) -> Tensor:
        """Sum of two feature maps of one shape."""
        return self._same(a, "Add", [a.name, b.name])

    def concat(self, *tensors: Tensor) -> Tensor:
        """All channels of feature maps of one side."""
        name = self.add("Concat", [x.name for x in tensors], axis=1)
        return Tensor(name, sum(x.channels for x in tensors), tensors[0].side)

    def add(self, operator: str, inputs: Sequence[str], **attributes: object) -> str:
        """Any operator of ONNX with one output, whose name is returned."""
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        """Name of a tensor of the graph that holds `values`."""
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def model(self, **outputs: Tensor) -> onnx.ModelProto:
        """The network with these outputs."""
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

    def _affine(self, shape: tuple[int, ...]) -> tuple[str, str]:
        """Scale near one and shift near zero: exactly these would be optimised away."""
        self.parameters += 2 * int(np.prod(shape))
        return self.constant(1 + self._uniform(shape, 0.1)), self.constant(
            self._uniform(shape, 0.1)
        )

    def _uniform(self, shape: tuple[int, ...], limit: float) -> np.ndarray:
        numbers = self._random.random(shape, np.float32)
        numbers -= np.float32(0.5)
        numbers *= np.float32(2 * limit)
        return numbers


def _described(name: str, x: Tensor) -> onnx.ValueInfoProto:
    shape = (1, x.channels, x.side, x.side)
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
