"""A head: what turns the network's features of a nucleus into classes of one's own.

    head = load("my-classes.npz")
    probs = head.predict(features, shares)    # [n, K]

A class may have a parent, the class of the network that it refines or replaces. Its logit is the
logarithm of the network's probability of the parent, plus a linear function of the features and of
the logarithms of all the network's probabilities, so that a wrong answer can be put right:

    z_k = log p_parent(k) + w_k . f + m_k . log p + b_k

Weights of 0 leave the network as it is. Classes without a parent start from 1 / C.

Classes of the network that nothing was learned of are kept: they have the network's probability,
and the others share what is left.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from tsfd_client.classes.labels import BACKGROUND, key
from tsfd_client.errors import OutputError, TsfdError
from tsfd_client.files import replacing

FLOOR: Final = 1e-3
"""Added to the network's probabilities before their logarithm is taken."""
FEWEST, MOST = 2, 30
"""Numbers of classes that a head may have."""
_FORMAT: Final = "tsfd classes 1"
_LARGEST: Final = 65_504.0
_BRIGHTEST: Final = 255
_BROKEN: Final = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class OwnClass:
    """A class of a head.

    Attributes
    ----------
    name
        As users typed it.
    colour
        RGB.
    parent
        The network's class that it refines or replaces; None if it is new.
    excluded
        Whether it is left out of counts and exports, like "not a nucleus".
    learned
        False if it is its parent, kept as the network finds it.
    """

    name: str
    colour: tuple[int, int, int]
    parent: str | None = None
    excluded: bool = False
    learned: bool = True


@dataclass(frozen=True, eq=False)
class Head:
    """Classes of one's own on top of a release.

    Attributes
    ----------
    classes
        K classes.
    weights, mix, bias
        float32 [D, K] of the features, [C, K] of the logarithms of the network's probabilities, in
        addition to the parent's, and [K].
    network_classes
        Names of the network's C classes, in the order of its class ids.
    base
        Name of the release whose features it was fitted to.
    weights_sha256
        Of the network's weights.
    figures
        What the fit found, as values that JSON can hold.
    """

    classes: tuple[OwnClass, ...]
    weights: np.ndarray
    mix: np.ndarray
    bias: np.ndarray
    network_classes: tuple[str, ...]
    base: str
    weights_sha256: str
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise ValueError(problem)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(kind.name for kind in self.classes)

    @property
    def parents(self) -> np.ndarray:
        """int64 [K]: index of each class' parent among the network's classes, -1 for none."""
        return parents(self.classes, self.network_classes)

    @property
    def kept(self) -> np.ndarray:
        """int64 [K]: index of each kept class among the network's classes, -1 for learned ones."""
        return np.where([kind.learned for kind in self.classes], -1, self.parents)

    @property
    def excluded(self) -> np.ndarray:
        """bool [K]: the classes left out of counts and exports."""
        return np.array([kind.excluded for kind in self.classes])

    def logits(self, features: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Logits of each nucleus; parameters as of `predict`, float64 [n, K]."""
        logs = log_shares(shares)
        start = prior(shares, self.parents) + logs @ self.mix
        return keep(start + features @ self.weights + self.bias, logs, self.kept)

    def predict(self, features: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Probabilities of each nucleus' classes.

        Parameters
        ----------
        features
            float [n, D], the mean of each feature over the nucleus' pixels.
        shares
            float [n, C], the network's mean probability of each class within the nucleus.

        Returns
        -------
        float64 [n, K]
            Rows add up to 1.
        """
        return softmax(self.logits(features, shares))


def parents(classes: tuple[OwnClass, ...], network_classes: tuple[str, ...]) -> np.ndarray:
    """int64 [K]: index of each class' parent among the network's classes, -1 for none."""
    return np.array([-1 if c.parent is None else network_classes.index(c.parent) for c in classes])


def prior(shares: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Logarithm of the network's probability of each class' parent.

    Parameters
    ----------
    shares
        float [n, C].
    parents
        int [K], -1 for none.

    Returns
    -------
    float64 [n, K]
    """
    none = np.full((len(shares), 1), -np.log(shares.shape[1]))
    return np.concatenate([log_shares(shares), none], axis=1)[:, parents]


def keep(logits: np.ndarray, logs: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Give kept classes the network's probability; the others share what is left.

    Parameters
    ----------
    logits
        float64 [..., n, K], of which those of kept classes do not matter.
    logs
        float64 [n, C], logarithms of the network's probabilities.
    kept
        int [K], index of each kept class among the network's classes, -1 for the others.

    Returns
    -------
    float64 [..., n, K]
        The logits as they are if no class is kept.
    """
    others = kept < 0
    if others.all():
        return logits
    left = np.setdiff1d(np.arange(logs.shape[1]), kept)
    found = np.empty_like(logits)
    found[..., ~others] = logs[:, kept[~others]]
    own = logits[..., others]
    found[..., others] = own - _log_of_sum(own) + _log_of_sum(logs[:, left])
    return found


def _log_of_sum(logs: np.ndarray) -> np.ndarray:
    highest = logs.max(axis=-1, keepdims=True)
    return np.asarray(highest + np.log(np.exp(logs - highest).sum(axis=-1, keepdims=True)))


def log_shares(shares: np.ndarray) -> np.ndarray:
    """Logarithms of the network's probabilities given a nucleus, float64 [n, C]."""
    known = np.maximum(shares, 0) + FLOOR
    return np.asarray(np.log(known / known.sum(axis=1, keepdims=True)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities from logits, over the last axis."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def is_own_classes(path: Path) -> bool:
    """Whether a file holds classes of one's own, and not weights or anything else."""
    try:
        with zipfile.ZipFile(path) as file:
            return "head.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def save(head: Head, path: Path) -> None:
    """Write a head, replacing `path` only when complete.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    about = {
        "format": _FORMAT,
        "classes": [asdict(kind) for kind in head.classes],
        "network_classes": head.network_classes,
        "base": head.base,
        "weights_sha256": head.weights_sha256,
        "figures": head.figures,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file,
                weights=head.weights.astype(np.float32),
                mix=head.mix.astype(np.float32),
                bias=head.bias.astype(np.float32),
                head=np.array(json.dumps(about)),
            )
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error


def load(path: Path) -> Head:
    """Read a head.

    Raises
    ------
    TsfdError
        If there is no such file, or it is damaged or of another kind.
    """
    if not path.is_file():
        raise TsfdError(f"There is no file {path}: `tsfd adapt` makes one.")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if "head" not in file.files:
                raise TsfdError(
                    f"{path} holds no classes of your own: name a file that `tsfd adapt` wrote."
                )
            about = json.loads(str(file["head"]))
            if about["format"] != _FORMAT:
                raise TsfdError(
                    f"{path} is of the format {about['format']!r}, which this version cannot "
                    "read: update tsfd-client."
                )
            return Head(
                classes=tuple(
                    OwnClass(
                        *(c["name"], tuple(c["colour"]), c["parent"], c["excluded"], c["learned"])
                    )
                    for c in about["classes"]
                ),
                weights=file["weights"],
                mix=file["mix"],
                bias=file["bias"],
                network_classes=tuple(about["network_classes"]),
                base=about["base"],
                weights_sha256=about["weights_sha256"],
                figures=about["figures"],
            )
    except _BROKEN as error:
        raise TsfdError(
            f"{path} is damaged, or no file of `tsfd adapt`: make it again with `tsfd adapt`."
        ) from error


def _problem(head: Head) -> str | None:
    """What is wrong with a head, or None."""
    number = len(head.classes)
    odd = [kind for kind in head.classes if not _is_class(kind)]
    if odd:
        return f"{odd[0]} is no class"
    if not FEWEST <= number <= MOST:
        return f"a head has {FEWEST} to {MOST} classes, not {number}"
    if len(set(head.names)) < number or not all(head.names):
        return f"classes must have distinct names, not {', '.join(head.names)}"
    unknown = {c.parent for c in head.classes} - {None, *head.network_classes}
    if unknown:
        return f"the network has no class {unknown.pop()!r}"
    kept = [kind.parent for kind in head.classes if not kind.learned]
    if None in kept or len(set(kept)) < len(kept):
        return "a class is kept that is not one of the network's"
    if len(kept) in (number, len(head.network_classes)):
        return "every class is kept"
    for name, values, shape in (
        ("weights", head.weights, (len(head.weights), number)),
        ("mix", head.mix, (len(head.network_classes), number)),
        ("bias", head.bias, (number,)),
    ):
        if values.dtype != np.float32 or values.shape != shape or not _is_small(values):
            return f"{name} must be finite float32 {list(shape)}, within {_LARGEST:g}"
    return None


def _is_class(kind: OwnClass) -> bool:
    return (
        isinstance(kind.name, str)
        and key(kind.name) != BACKGROUND
        and len(kind.colour) == 3
        and all(type(part) is int and 0 <= part <= _BRIGHTEST for part in kind.colour)
        and isinstance(kind.excluded, bool)
        and isinstance(kind.learned, bool)
    )


def _is_small(values: np.ndarray) -> bool:
    """Whether all values are finite, and no larger than 16 bits can hold, with which some serve."""
    return bool((np.abs(values) <= _LARGEST).all())
