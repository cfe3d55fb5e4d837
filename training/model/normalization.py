"""Batch normalisation that is fast to train on TensorFlow."""

from __future__ import annotations

import keras


class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer, but using TensorFlow's fused kernel when training on that backend.

    Keras composes the operation from a dozen simple ones. XLA fuses them again; TensorFlow on a CPU
    does not, and spent half of each training step there.
    """

    def call(self, inputs, training: bool | None = None, mask=None):
        """Normalise [N, H, W, C]; batch statistics while training, moving ones otherwise."""
        if not training or keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        return outputs
