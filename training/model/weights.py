"""Weights files: one npz per trained network, kernels in half precision.

A file holds every variable under its Keras path, and ``preset``, the name of the network. It may
hold ``parameters``, the `instances.Parameters` that suit it as JSON, and ``target``, the `Target`
it was trained for as JSON (default: `PANNUKE`). An integer kernel is accompanied by
``<path>:scale``, its scale per channel; see `compact`.

A file of classes of one's own (`training.model.own_classes`) can be loaded like a weights file.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import instances
import keras
import numpy as np

from training.model import own_classes
from training.model.network import build
from training.target import PANNUKE, Target
from tsfd_client.classes.head import Head, is_own_classes
from tsfd_client.errors import TsfdError

_PRESET = "preset"
_PARAMETERS = "parameters"
_TARGET = "target"
_CLASS_LOGITS = "class_logits"  # layers of the network
_BOUNDARY_LOGITS = "boundary_logits"
_SCALE = ":scale"
_LARGE = 4096  # smallest number of values for which compacting a kernel is worthwhile


class WeightsError(Exception):
    """A weights file cannot be read or written; the message says what to do."""


def save(network: keras.Model, preset: str, path: Path, target: Target = PANNUKE) -> None:
    """Write the variables of a network trained for `target`, replacing `path` only when complete.

    Kernels become float16. Vectors (biases, batch statistics) stay float32: they are small, and
    variances exceed float16's range.

    Raises
    ------
    WeightsError
        If a variable is not finite, or the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {
        _PRESET: np.array(preset),
        _TARGET: np.array(json.dumps(target.to_dict())),
    }
    for variable in network.variables:
        if not variable.dtype.startswith("float"):
            continue  # the seeds of the dropout layers
        value = keras.ops.convert_to_numpy(variable.value)
        if not np.isfinite(value).all():
            raise WeightsError(f"{variable.path} is not finite; {path} was not written.")
        arrays[variable.path] = value.astype(np.float16 if value.ndim > 1 else np.float32)
    _write(arrays, path)


def load(path: Path) -> tuple[keras.Model, str]:
    """Build the network a weights file, or one of own classes, belongs to; give it the weights.

    Returns
    -------
    keras.Model, str
        The network as `training.model.network.build` makes it, and its preset.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, or does not fit the network.
    """
    if is_own_classes(path):
        head, base = _own_classes(path)
        network, preset = load(base)
        try:
            return own_classes.with_classes(network, head), preset
        except TsfdError as error:
            raise WeightsError(f"{path}: {error}") from error
    with _opened(path) as file:
        arrays = {name: _value(file, name) for name in file.files}
        preset = str(arrays[_PRESET])
        network = build(preset, target(path))
    for variable in network.variables:
        if not variable.dtype.startswith("float"):
            continue
        value = arrays.get(variable.path)
        if value is None or value.shape != tuple(variable.shape):
            raise WeightsError(
                f"{path} does not fit this version's {preset!r} network: {variable.path} is "
                f"{'missing' if value is None else 'of another shape'}. Train it again."
            )
        variable.assign(value.astype(np.float32))
    # Keras reads the normalisation's constants when the layer is built, not when it runs.
    network.get_layer("normalization").finalize_state()
    return network, preset


def parameters(path: Path) -> instances.Parameters:
    """Read the post-processing parameters that suit a weights file, by default the `defaults`.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, or names unknown parameters.
    """
    with _opened(path) as file:
        text = str(file[_PARAMETERS]) if _PARAMETERS in file.files else None
    if text is None and is_own_classes(path):
        return parameters(_own_classes(path)[1])
    try:
        values = json.loads(text or "{}")
        if values.get("method") == "watershed":  # in older files, when there was a choice
            del values["method"]
        return replace(defaults(target(path)), **values)
    except (ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"The parameters in {path} cannot be used: {error}") from error


def defaults(target: Target) -> instances.Parameters:
    """Parameters for weights that were not tuned: one smallest area in um2 at every scale."""
    suited = instances.Parameters()
    return replace(suited, min_area=round(suited.min_area * (PANNUKE.mpp / target.mpp) ** 2))


def check_classes(path: Path) -> None:
    """Check that a weights file tells the classes that training data teach.

    Raises
    ------
    WeightsError
        If it is missing or damaged, or tells others.
    """
    if is_own_classes(path):
        raise WeightsError(
            f"{path} holds classes of your own: name the weights file they were learned with."
        )
    told, taught = (", ".join(c.name for c in t.classes) for t in (target(path), PANNUKE))
    if told != taught:
        raise WeightsError(f"{path} tells {told}, but the data teach {taught}.")


def target(path: Path) -> Target:
    """Read the target that a weights file was trained for.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, or its target is invalid.
    """
    if is_own_classes(path):
        head, base = _own_classes(path)
        return own_classes.target(head, target(base))
    with _opened(path) as file:
        text = str(file[_TARGET]) if _TARGET in file.files else None
    try:
        return PANNUKE if text is None else Target.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"The target in {path} cannot be used: {error}") from error


def set_parameters(path: Path, suited: instances.Parameters) -> None:
    """Store post-processing parameters in a weights file, replacing it only when complete.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, or cannot be written.
    """
    with _changed(path) as arrays:
        arrays[_PARAMETERS] = np.array(json.dumps(asdict(suited)))


def fold(path: Path, scale: float, bias: np.ndarray) -> None:
    """Scale the class logits in a weights file and add a bias to those of the nuclear classes.

    Parameters
    ----------
    path
        Of the file, which is replaced only when complete.
    scale
        Factor of all class logits.
    bias
        float [K], added to the logits of the nuclear classes.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, or cannot be written.
    """
    with _changed(path) as arrays:
        kernel, constant = (arrays[f"{_CLASS_LOGITS}/{name}"] for name in ("kernel", "bias"))
        arrays[f"{_CLASS_LOGITS}/kernel"] = (scale * kernel.astype(np.float32)).astype(kernel.dtype)
        arrays[f"{_CLASS_LOGITS}/bias"] = (scale * constant + [0, *bias]).astype(constant.dtype)


def centre(path: Path, suited: instances.Parameters) -> instances.Parameters:
    """Move the thresholds of a weights file to 0.5 by biases on its logits, and store the settings.

    Nuclei are split as before. A threshold near 1 would leave a few of the 256 levels of a
    probability to tell nuclei from background, and lower precision would change what is found.

    Parameters
    ----------
    path
        Of the file, which is replaced only when complete.
    suited
        What suits the weights as they are.

    Returns
    -------
    instances.Parameters
        What suits them now. `min_confidence` is moved as the probability of a pixel is, which is
        not exact for a mean over pixels.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, or cannot be written.
    """
    foreground = _logit(suited.foreground_threshold)
    boundary = _logit(suited.boundary_threshold)
    sure = suited.min_confidence
    moved = replace(
        suited,
        foreground_threshold=0.5,
        boundary_threshold=0.5,
        min_confidence=round(_sigmoid(_logit(sure) - foreground), 3) if sure else 0.0,
    )
    with _changed(path) as arrays:
        background = np.eye(len(arrays[f"{_CLASS_LOGITS}/bias"]), dtype=np.float32)[0]
        arrays[f"{_CLASS_LOGITS}/bias"] += np.float32(foreground) * background
        arrays[f"{_BOUNDARY_LOGITS}/bias"] -= np.float32(boundary)
        arrays[_PARAMETERS] = np.array(json.dumps(asdict(moved)))
    return moved


def _logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


def compact(path: Path) -> None:
    """Quantise the large kernels of a weights file to 8 bits, with a scale per channel.

    Parameters
    ----------
    path
        Of the file, which is replaced only when complete.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, or cannot be written.
    """
    with _changed(path) as arrays:
        for name, value in list(arrays.items()):
            if value.dtype != np.float16 or value.size < _LARGE:
                continue
            # [..., in, out], or [h, w, channels, 1] of a depthwise one.
            depthwise = value.ndim == 4 and value.shape[3] == 1
            axes = (0, 1) if depthwise else tuple(range(value.ndim - 1))
            highest = np.abs(value).max(axis=axes, keepdims=True).astype(np.float32)
            scale = np.maximum(highest, np.finfo(np.float16).tiny) / 127
            arrays[name] = np.rint(value / scale).astype(np.int8)
            arrays[name + _SCALE] = scale


def _own_classes(path: Path) -> tuple[Head, Path]:
    try:
        return own_classes.read(path)
    except TsfdError as error:
        raise WeightsError(str(error)) from error


@contextmanager
def _changed(path: Path) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of a file; changes to them are written back."""
    with _opened(path) as file:
        arrays = dict(file)
        yield arrays
    _write(arrays, path)


def _value(file: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    value = file[name]
    return value * file[name + _SCALE] if value.dtype == np.int8 else value


@contextmanager
def _opened(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}.")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            yield file
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"{path} is not a weights file of this project, or damaged.") from error


def _write(arrays: dict[str, np.ndarray], path: Path) -> None:
    partial = path.with_suffix(".partial.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(partial, **arrays)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):  # on a file system that cannot be written to
            partial.unlink(missing_ok=True)
        raise WeightsError(f"Cannot write {path}: {error.strerror or error}.") from error
