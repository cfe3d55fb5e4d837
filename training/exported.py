"""The record of what a SavedModel was exported from: ``assets.extra/network.json`` in it.

Does not import Keras, so checking whether an export is up to date takes no time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).resolve().parents[1]
# The code that determines the graph and its constants.
_SOURCES = (
    "training/export.py",
    "training/model/backbone.py",
    "training/model/classes.py",
    "training/model/convolution.py",
    "training/model/dropout.py",
    "training/model/network.py",
    "training/model/normalization.py",
    "training/model/own_classes.py",
    "training/model/preprocess.py",
    "training/model/resolution.py",
    "training/model/serving.py",
    "training/model/weights.py",
    "training/target.py",
)


@dataclass(frozen=True)
class Exported:
    """Origin of a SavedModel.

    Attributes
    ----------
    preset
        Name of the network.
    weights_sha256
        Of the network's weights file.
    classes_sha256
        Of the file of classes of one's own; empty for the network's own.
    source_sha256
        Of the code that exported it.
    parameters
        Post-processing that suits the weights: fields of `instances.Parameters`.
    target
        Scale and classes that are served, as written by `training.target.Target.to_dict`.
    network_classes
        Names of the network's own classes.
    features
        Number of features.
    """

    preset: str
    weights_sha256: str
    classes_sha256: str
    source_sha256: str
    parameters: dict[str, float | int | str]
    target: dict[str, Any]
    network_classes: list[str]
    features: int

    @classmethod
    def read(cls, saved_model: Path) -> Self:
        """Read the record of a SavedModel; OSError, ValueError or TypeError if it has none."""
        return cls(**json.loads(_path(saved_model).read_text()))

    def write(self, saved_model: Path) -> None:
        """Put the record into a SavedModel's folder."""
        path = _path(saved_model)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def is_current(saved_model: Path, weights: Path) -> bool:
    """Whether `saved_model` was exported from this file by this code."""
    try:
        found = Exported.read(saved_model)
        file = found.classes_sha256 or found.weights_sha256
        return (file, found.source_sha256) == (file_sha256(weights), source_sha256())
    except (OSError, ValueError, TypeError):
        return False


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_sha256() -> str:
    """SHA-256 of the code that determines what is exported from given weights."""
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for path in sorted(_ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _path(saved_model: Path) -> Path:
    return saved_model / "assets.extra" / "network.json"
