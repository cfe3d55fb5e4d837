"""Batch normalisation that is fast to train on TensorFlow."""

from __future__ import annotations

import keras


class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' layer, but using the fused kernels of TensorFlow and PyTorch.

    Keras composes the operation from a dozen simple ones. XLA fuses them again; the others do not,
    and spent half of each training step there. Both fused kernels move the moving variance towards
    the unbiased variance of the batch.
    """

    def call(self, inputs, training: bool | None = None, mask=None):
        """Normalise [N, H, W, C]; batch statistics while training, moving ones otherwise."""
        backend = keras.backend.backend()
        if backend == "torch":
            return self._call_torch(inputs, bool(training))
        if not training or backend != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        return outputs

    def _call_torch(self, inputs, training: bool):
        from torch.nn import functional

        outputs = functional.batch_norm(
            inputs.permute(0, 3, 1, 2),  # a view: see `training.model.convolution`
            self.moving_mean.value,
            self.moving_variance.value,
            self.gamma.value,
            self.beta.value,
            training,
            1.0 - self.momentum,
            self.epsilon,
        )
        return outputs.permute(0, 2, 3, 1)
