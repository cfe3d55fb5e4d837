"""Sources of an evaluation's nuclei: a weights file in this process, or a server."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from training.evaluation import served
from training.evaluation.methods import METHODS, SERVED
from training.evaluation.segment_and_score import Segment
from training.target import CLASSES
from tsfd_client.server.client import Client
from tsfd_client.settings import Settings


class SourceError(Exception):
    """The weights file or the server cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """A function that segments, and the fields of `tables.Subject` that describe it."""

    segment: Segment
    description: dict


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
    _check_classes(path.name, [kind.name for kind in target.classes])
    backend = keras.backend.backend()
    return Source(
        segment=partial(
            segment_all, network, parameters=parameters, target=target, extract=METHODS[method]
        ),
        description={
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
    SourceError
        If its classes are not those that were annotated.
    """
    found = client.check()
    _check_classes(f"The server at {client.url}", found.release.class_names[1:])
    release = found.release.with_settings(settings)
    return Source(
        segment=partial(served.segment_all, client, settings=settings),
        description={
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


def _check_classes(source: str, names: Sequence[str]) -> None:
    if tuple(names) != CLASSES[1:]:
        raise SourceError(
            f"{source} predicts {', '.join(names)}, but the annotated classes are "
            f"{', '.join(CLASSES[1:])}: it cannot be scored by these annotations."
        )


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}
