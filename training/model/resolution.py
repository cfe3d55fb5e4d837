"""Layers that change the resolution, in the precision of what they are given.

On PyTorch Keras does both in float32: in a network that trains in bfloat16 it copies the largest
activations there and back, and the gradient of its mean is divided at every pixel.
"""

from __future__ import annotations

import keras
from keras import ops


class GlobalAveragePooling2D(keras.layers.GlobalAveragePooling2D):
    """Keras' layer, without the copies on PyTorch."""

    def call(self, inputs):
        """Average each channel of [N, H, W, C]."""
        if keras.backend.backend() != "torch":
            return super().call(inputs)
        pixels = inputs.shape[1] * inputs.shape[2]
        return inputs.sum((1, 2), keepdim=self.keepdims) / pixels


class Resize(keras.layers.Layer):
    """Bilinear interpolation with half-pixel centres.

    Parameters
    ----------
    size
        Height and width to resize to.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self._size = size

    def compute_output_shape(self, input_shape):
        """[N, *size, C]."""
        return (input_shape[0], *self._size, input_shape[3])

    def call(self, inputs):
        """Resize [N, H, W, C]."""
        if keras.backend.backend() != "torch":
            return ops.image.resize(inputs, self._size, interpolation="bilinear")
        from torch.nn import functional

        x = inputs.permute(0, 3, 1, 2)  # a view: see `training.model.convolution`
        return functional.interpolate(x, self._size, mode="bilinear").permute(0, 2, 3, 1)
