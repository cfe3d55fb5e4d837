"""Files of classes of one's own, as `tsfd adapt` writes them, on top of a weights file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from training.exported import file_sha256
from training.model.classes import Classes, features, replace_classes
from training.target import Target
from tsfd_client.classes.head import Head, load
from tsfd_client.errors import TsfdError
from tsfd_client.release import NucleusClass

_WEIGHTS = Path(__file__).resolve().parents[2] / "weights"


def read(path: Path) -> tuple[Head, Path]:
    """Read a file of classes, and find the weights that it belongs to.

    They are looked for beside the file and among the shipped ones, by content.

    Raises
    ------
    TsfdError
        If the file is damaged, or the weights are not found.
    """
    head = load(path)
    for candidate in _weights_files(path.parent):
        if file_sha256(candidate) == head.weights_sha256:
            return head, candidate
    raise TsfdError(
        f"{path} belongs to weights that are neither beside it nor in {_WEIGHTS}: copy there the "
        f"weights file that the release {head.base} is made of (SHA-256 "
        f"{head.weights_sha256[:12]}...)."
    )


def _weights_files(folder: Path) -> Iterator[Path]:
    for place in (folder, _WEIGHTS):
        yield from sorted(path for path in place.glob("*.npz") if path.is_file())


def with_classes(network: keras.Model, head: Head) -> keras.Model:
    """Give a network the classes of a head.

    Raises
    ------
    TsfdError
        If they were learned from other features.
    """
    number = len(head.network_classes)
    width = features(network).shape[-1] - number
    if len(head.weights) != width:
        raise TsfdError(
            f"the classes were learned from {len(head.weights)} features, and the network has "
            f"{width}: make them again with `tsfd adapt`."
        )
    parents = np.zeros((number, len(head.classes)), np.float32)
    has_parent = head.parents >= 0
    parents[head.parents[has_parent], np.flatnonzero(has_parent)] = 1
    parents += head.mix
    # Classes without a parent start from one of C equally probable ones.
    bias = head.bias - np.where(has_parent, 0, np.log(number)).astype(np.float32)
    return replace_classes(network, Classes(parents, head.weights, bias, head.excluded, head.kept))


def target(head: Head, base: Target) -> Target:
    """Scale of the network, and the classes that are served."""
    kept = (NucleusClass(c.name, c.colour) for c in head.classes if not c.excluded)
    return Target(base.mpp, tuple(kept))
