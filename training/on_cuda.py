"""PyTorch on an NVIDIA GPU: what keeps it busy, for the host is slower than it.

A step of the network is a few thousand operations, of which each is launched by Python; recorded as
a CUDA graph they are launched at once.
"""

from __future__ import annotations

import os
import signal
import sys

import keras
import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader, Dataset

from training.data.batches import Batches

_EAGER = 3  # steps before the one that is recorded: cuDNN tries its kernels in them
_AHEAD = 2  # batches that each process prepares


class CapturedStep:
    """A step of training as one CUDA graph, in the place of Keras' ``train_function``.

    Dropout depends on the number of the step alone, so that a training which goes on draws what
    one that was not interrupted does.

    Parameters
    ----------
    network
        Compiled, with its optimiser built.
    """

    def __init__(self, network: keras.Model) -> None:
        self._network = network
        self._step = int(network.optimizer.iterations)
        self._record_at: int | None = self._step + _EAGER
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream()
        self._constants = _Constants()

    def __call__(self, data: list) -> dict:
        """Train on a batch, the only one of the list; return the logs."""
        batch = keras.tree.map_structure(lambda x: x.to("cuda", non_blocking=True), data[0])
        torch.manual_seed(self._step)
        if self._step == self._record_at:
            self._record(batch)
        self._step += 1
        if self._graph is None:
            return self._eager(batch)
        keras.tree.map_structure(lambda kept, new: kept.copy_(new), self._batch, batch)
        self._graph.replay()
        return self._logs

    def _eager(self, batch: tuple) -> dict:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream), self._constants:
            logs = self._network.train_step(batch)
        torch.cuda.current_stream().wait_stream(self._stream)
        return logs

    def _record(self, batch: tuple) -> None:
        self._batch = keras.tree.map_structure(torch.clone, batch)
        graph = torch.cuda.CUDAGraph()
        try:
            with self._constants, torch.cuda.graph(graph, stream=self._stream):
                self._logs = self._network.train_step(self._batch)
        except RuntimeError as error:  # an optimiser that asks the GPU for a number
            print(f"Slower, for the step is no CUDA graph: {error}", file=sys.stderr)
        else:
            self._graph = graph


class _Constants(TorchFunctionMode):
    """Numbers that Keras sends to the GPU in every step, sent once: no graph can send them."""

    def __init__(self) -> None:
        super().__init__()
        self._sent: dict[tuple, torch.Tensor] = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is not torch.as_tensor or isinstance(args[0], torch.Tensor):
            return func(*args, **kwargs)
        value = np.asarray(args[0])
        key = (value.tobytes(), value.dtype, value.shape, str(kwargs))
        if key not in self._sent:
            self._sent[key] = func(*args, **kwargs)
        return self._sent[key]


def from_processes(batches: Batches) -> DataLoader:
    """The same batches, out of as many processes as there are cores."""
    return DataLoader(
        _Batches(batches),
        batch_size=None,
        num_workers=max(1, (os.cpu_count() or 2) - 1),
        prefetch_factor=_AHEAD,
        pin_memory=torch.cuda.is_available(),
        # Ctrl-C is the training's to answer.
        worker_init_fn=lambda _: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )


class _Batches(Dataset):
    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple:
        return self._batches.batch(self._batches.step(index))
