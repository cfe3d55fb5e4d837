"""Checkpoints: the whole state of a training, so that it resumes as if never interrupted."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np

_RUN = "run"


class CheckpointError(Exception):
    """A checkpoint cannot be written or read; the message says what to do."""


def save(network: keras.Model, run: dict, path: Path) -> None:
    """Write weights, optimiser and random states, replacing `path` only when complete.

    Parameters
    ----------
    network
        Compiled and built.
    run
        What identifies the training, as a dict of dicts of JSON values: only a run with the
        same values can resume from the checkpoint.

    Raises
    ------
    CheckpointError
        If it cannot be written; an earlier checkpoint is kept.
    """
    arrays = {str(n): keras.ops.convert_to_numpy(v.value) for n, v in enumerate(_state(network))}
    partial = path.with_suffix(".partial.npz")
    try:
        np.savez(partial, **arrays, **{_RUN: np.array(json.dumps(run))})
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # on a file system that cannot be written to
            partial.unlink(missing_ok=True)
        raise CheckpointError(
            f"Cannot write {path}: {error.strerror or error}. An earlier checkpoint is kept."
        ) from error


def restore(network: keras.Model, run: dict, path: Path) -> int:
    """Give `network` the state of a checkpoint.

    Returns
    -------
    int
        Steps done.

    Raises
    ------
    CheckpointError
        If the file is damaged, of another network or optimiser, or its run differs from `run`.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        of_file = json.loads(str(arrays.pop(_RUN)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint, or is damaged: delete it and start the run again."
        ) from error
    differences = list(_differences(of_file, run))
    if differences:
        raise CheckpointError(
            f"{path} belongs to another run: {'; '.join(differences)}. Restore the former "
            "settings, or choose another --out and begin with its weights: "
            f"--start {path.with_name('weights.npz')}."
        )
    state = _state(network)
    values = [arrays[key] for key in sorted(arrays, key=int)]
    if [value.shape for value in values] != [tuple(variable.shape) for variable in state]:
        raise CheckpointError(
            f"{path} belongs to another network or optimiser: resume with the version that "
            "began it, or choose another --out."
        )
    for variable, value in zip(state, values, strict=True):
        variable.assign(value)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # Keras reads its constants now, not when it runs
    return int(network.optimizer.iterations)


def _differences(old: dict, new: dict) -> Iterator[str]:
    # Through JSON, which turns tuples into lists.
    new = json.loads(json.dumps(new))
    for part in sorted(old.keys() | new.keys()):
        before, now = old.get(part, {}), new.get(part, {})
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                yield f"{part} {key} was {before.get(key)!r} and is {now.get(key)!r}"


def _state(network: keras.Model) -> list[keras.Variable]:
    # By position, as Keras numbers the names of each network built in a process differently.
    network.optimizer.build(network.trainable_variables)
    return [*network.variables, *network.optimizer.variables]
