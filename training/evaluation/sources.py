"""Sources of an evaluation's nuclei: a weights file in this process, or a server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Self

import numpy as np

from training.evaluation import served
from training.evaluation.methods import METHODS, SERVED
from training.evaluation.segment_and_score import Segment
from training.target import CLASSES
from tsfd_client.nuclei.result import Nuclei
from tsfd_client.server.client import Client
from tsfd_client.settings import Settings


class SourceError(Exception):
    """The weights file or the server cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """Where an evaluation's nuclei come from.

    Attributes
    ----------
    segment
        Finds nuclei and numbers their classes as annotated ones; those of other names have 0.
    classes
        Annotated classes that it predicts.
    mpp
        Scale of the network, at which it takes images.
    description
        The fields of `tables.Subject` that describe it.
    """

    segment: Segment
    classes: tuple[int, ...]
    mpp: float
    description: dict

    @classmethod
    def of(cls, segment: Segment, names: Sequence[str], mpp: float, description: dict) -> Self:
        """Match classes with the annotated ones by name."""
        numbers = [CLASSES.index(name) if name in CLASSES else 0 for name in names]
        of_class = np.array([0, *numbers], np.uint8)

        def by_name(images: Iterable[np.ndarray]) -> Iterator[Nuclei]:
            for nuclei in segment(images):
                yield replace(nuclei, classes=of_class[nuclei.classes])

        return cls(by_name, tuple(number for number in numbers if number), mpp, description)


def from_weights(path: Path, settings: Settings, method: str = SERVED) -> Source:
    """Use a weights file, in this process.

    Parameters
    ----------
    path
        Weights file.
    settings
        None stands for the value stored in the weights file.
    method
        Of `training.evaluation.methods.METHODS`.

    Raises
    ------
    SourceError
        If the file cannot be used, or a setting is out of range.
    """
    # Imported here because scoring a server does not need Keras.
    import keras

    from training.evaluation.in_process import segment_all
    from training.model import weights

    try:
        parameters = replace(weights.parameters(path), **settings.given())
        network, preset = weights.load(path)
        target = weights.target(path)
    except (ValueError, weights.WeightsError) as error:
        raise SourceError(str(error)) from error
    backend = keras.backend.backend()
    return Source.of(
        partial(
            segment_all,
            network,
            parameters=parameters,
            target=target,
            extract=METHODS[method],
            mpp=target.mpp,
        ),
        [kind.name for kind in target.classes],
        target.mpp,
        {
            "weights": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "preset": preset,
            "settings": {**vars(parameters), "method": method},
            "versions": {
                **_versions("tsfd-client", "numpy", "keras"),
                # Not the distribution's version: its name depends on the hardware.
                backend: import_module(backend).__version__,
            },
        },
    )


def from_server(client: Client, settings: Settings) -> Source:
    """Use a running server.

    Raises
    ------
    tsfd_client.errors.TsfdError
        If the server cannot be reached, or follows another version of the contract.
    """
    found = client.check()
    release = found.release.with_settings(settings)
    return Source.of(
        partial(served.segment_all, client, settings=settings, mpp=release.mpp),
        release.class_names[1:],
        release.mpp,
        {
            "weights": f"server {client.url}",
            "sha256": release.digests.get("weights_sha256"),
            "preset": release.preset,
            "settings": vars(release.settings),
            "versions": {
                **_versions("tsfd-client", "numpy"),
                "release": release.name,
                "triton": found.triton,
            },
        },
    )


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}
