"""What segments the images of an evaluation: a weights file in this process, or a server."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from training.evaluation import served
from training.evaluation.segment_and_score import Segment
from tsfd_client.client import Client
from tsfd_client.settings import Settings


class SourceError(Exception):
    """What should segment cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """What segments, and the fields of `training.evaluation.tables.Subject` that describe it."""

    segment: Segment
    description: dict


def from_weights(path: Path, settings: Settings) -> Source:
    """A weights file, in this process.

    Parameters
    ----------
    path
        Weights file.
    settings
        None stands for what the weights file asks for.

    Raises
    ------
    SourceError
        If the file cannot be used, or a setting is out of range.
    """
    # Here, because a server's scores need no Keras.
    import keras

    from training.evaluation.in_process import segment_all
    from training.model import weights

    given = {name: value for name, value in vars(settings).items() if value is not None}
    try:
        parameters = replace(weights.parameters(path), **given)
        network, preset = weights.load(path)
    except (ValueError, weights.WeightsError) as error:
        raise SourceError(str(error)) from error
    return Source(
        segment=partial(segment_all, network, parameters=parameters),
        description={
            "weights": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "preset": preset,
            "settings": vars(parameters),
            "versions": _versions("tsfd-client", "numpy", "keras", keras.backend.backend()),
        },
    )


def from_server(client: Client, settings: Settings) -> Source:
    """A running server.

    Raises
    ------
    tsfd_client.errors.TsfdError
        If the server cannot be reached, or keeps another version of the contract.
    """
    found = client.check()
    return Source(
        segment=partial(served.segment_all, client, settings=settings),
        description={
            "weights": f"server {client.url}",
            "sha256": None,
            "preset": None,
            "settings": vars(settings),
            "versions": {
                **_versions("tsfd-client", "numpy"),
                "release": found.release,
                "triton": found.triton,
            },
        },
    )


def _versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}
