"""Checkpoints: the whole state of a training, so that it can go on as if never stopped."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras
import numpy as np

_EPOCHS = "epochs"
_SECONDS = "seconds"


class CheckpointError(Exception):
    """A checkpoint cannot be written or read; the message says what to do."""


def save(network: keras.Model, epochs: int, seconds: float, path: Path) -> None:
    """Write weights, optimiser and random states, replacing `path` only when complete.

    Parameters
    ----------
    network
        Compiled and built.
    epochs, seconds
        How long it was trained.

    Raises
    ------
    CheckpointError
        If it cannot be written; the checkpoint that was there is still there.
    """
    arrays = {str(n): keras.ops.convert_to_numpy(v.value) for n, v in enumerate(_state(network))}
    partial = path.with_suffix(".partial.npz")
    try:
        np.savez(partial, **arrays, **{_EPOCHS: np.array(epochs), _SECONDS: np.array(seconds)})
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(
            f"Cannot write {path}: {error.strerror or error}. What was there before is still there."
        ) from error


def restore(network: keras.Model, path: Path) -> tuple[int, float]:
    """Give `network` the state of a checkpoint.

    Returns
    -------
    int, float
        Epochs done, and the seconds they took.

    Raises
    ------
    CheckpointError
        If the file is damaged or of another network or optimiser.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        epochs, seconds = int(arrays.pop(_EPOCHS)), float(arrays.pop(_SECONDS))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint, or damaged: delete it and start the run again."
        ) from error
    state = _state(network)
    values = [arrays[key] for key in sorted(arrays, key=int)]
    if [value.shape for value in values] != [tuple(variable.shape) for variable in state]:
        raise CheckpointError(
            f"{path} is of another network or optimiser: go on with the recipe it was begun with, "
            "or name another --out."
        )
    for variable, value in zip(state, values, strict=True):
        variable.assign(value)
    return epochs, seconds


def _state(network: keras.Model) -> list[keras.Variable]:
    # By position: Keras numbers names anew for every network a process builds.
    network.optimizer.build(network.trainable_variables)
    return [*network.variables, *network.optimizer.variables]
