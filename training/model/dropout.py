"""Dropout that a resumed training draws again, and that a CUDA graph can hold."""

from __future__ import annotations

import random

import keras


class _Seeded:
    """A seed from the start, as Keras draws it: layers without one use PyTorch's global state."""

    def __init__(self, rate: float, **arguments: object) -> None:
        arguments.setdefault("seed", random.randint(1, 10**9))
        super().__init__(rate, **arguments)

    def call(self, inputs, training: bool = False):
        """Drop values of [N, H, W, C] or [N, C] while training."""
        if not (training and self.rate and getattr(inputs, "is_cuda", False)):
            return super().call(inputs, training=training)
        # PyTorch's own numbers, for which the GPU asks no host.
        shape = [n or own for n, own in zip(self._noise(inputs), inputs.shape, strict=True)]
        kept = inputs.new_empty(shape).bernoulli_(1.0 - self.rate)
        return inputs * kept / (1.0 - self.rate)


class Dropout(_Seeded, keras.layers.Dropout):
    """Keras' layer."""

    def _noise(self, inputs) -> tuple[int | None, ...]:
        return self.noise_shape or inputs.shape


class SpatialDropout2D(_Seeded, keras.layers.SpatialDropout2D):
    """Keras' layer, which drops whole channels."""

    def _noise(self, inputs) -> tuple[int | None, ...]:
        return (None, 1, 1, None)
