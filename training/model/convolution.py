"""Convolutions that leave the activations where they are.

PyTorch computes on [N, C, H, W] and has a memory format in which channels come last: [N, H, W, C]
seen the other way. Keras copies the activations before each convolution instead, twice.
"""

from __future__ import annotations

import keras


class Conv2D(keras.layers.Conv2D):
    """Keras' layer, without the copies on PyTorch."""

    def call(self, inputs):
        """Convolve [N, H, W, C]."""
        if keras.backend.backend() != "torch":
            return super().call(inputs)
        return self.activation(_convolve(self, inputs, self.kernel.value.permute(3, 2, 0, 1)))


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras' layer, without the copies on PyTorch."""

    def call(self, inputs):
        """Convolve each channel of [N, H, W, C]."""
        if keras.backend.backend() != "torch":
            return super().call(inputs)
        return self.activation(_convolve(self, inputs, self.kernel.value.permute(2, 3, 0, 1)))


def _convolve(layer: Conv2D | DepthwiseConv2D, inputs, kernel):
    """Convolve [N, H, W, C] by a kernel [out, in, h, w]."""
    from torch.nn import functional

    x = inputs.permute(0, 3, 1, 2)
    padding = 0
    if layer.padding == "same":
        sides = [
            _padding(*of_axis)
            for of_axis in zip(x.shape[2:], kernel.shape[2:], layer.strides, strict=True)
        ]
        (top, bottom), (left, right) = sides
        if (top, left) == (bottom, right):
            padding = (top, left)
        else:
            x = functional.pad(x, (left, right, top, bottom))
    bias = layer.bias.value if layer.use_bias else None
    groups = x.shape[1] // kernel.shape[1]
    x = functional.conv2d(x, kernel, bias, layer.strides, padding, groups=groups)
    return x.permute(0, 2, 3, 1)


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after, as TensorFlow pads: the odd one comes after."""
    pixels = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return pixels // 2, pixels - pixels // 2
