"""Ask a server for the features of all nuclei of a result, and keep them.

Each row of tiles is kept as it is answered. Asked again, what is kept is not asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tsfd_client.classes.features import features_of, scaled_for
from tsfd_client.classes.kept_features import FOLDER, KeptFeatures
from tsfd_client.errors import ServerError, unwritable
from tsfd_client.files import PARQUET, sweep
from tsfd_client.nuclei.table import count, read_info
from tsfd_client.pixels.opening import open_image_of
from tsfd_client.pixels.slide import Slide
from tsfd_client.server.client import Client
from tsfd_client.slides.lock import Lock
from tsfd_client.slides.many import SERVER
from tsfd_client.slides.status import LOCK


def keep_features(result: Path, server: dict[str, Any], *, bar: bool | None = None) -> None:
    """Keep the features of all nuclei of a finished result in its folder ``features``.

    Parameters
    ----------
    server
        Arguments of `Client`.
    bar
        Whether to show a bar; None shows it only on a terminal.

    Raises
    ------
    ImageError
        If the image cannot be read, or is gone.
    ServerUnavailableError, ServerError
        If the server cannot be reached, refuses, or serves other weights.
    OutputError
        If another process works on the result, or it cannot be written into.
    """
    kept = KeptFeatures(result / FOLDER)
    if kept.is_complete:
        return
    try:
        with open_image_of(result) as slide, Lock(result / LOCK) as lock:
            release = read_info(result / PARQUET).release
            wanted = Wanted(str(result), release.served, release.digests.get("weights_sha256", ""))
            ask(kept, result, slide, wanted, lock, server, bar=bar)
    except OSError as error:
        raise unwritable(result, error) from error


@dataclass(frozen=True)
class Wanted:
    """The network whose features are wanted, and what belongs to it.

    Attributes
    ----------
    owner
        The file or folder that needs features of this network.
    release, weights_sha256
        The network's release, and SHA-256 of its weights.
    """

    owner: str
    release: str
    weights_sha256: str


def ask(
    kept: KeptFeatures,
    result: Path,
    slide: Slide,
    wanted: Wanted,
    lock: Lock,
    server: dict[str, Any],
    *,
    bar: bool | None = None,
) -> None:
    """Ask for the features that are missing.

    Parameters
    ----------
    kept
        Receives them.
    result, slide
        Folder of the result, and its image.
    wanted
        The network whose features they must be.
    lock
        Lock on the folder of `kept`: nothing is kept once another process has taken it over.
    server, bar
        As of `keep_features`, which also says what is raised.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    parquet = result / PARQUET
    info, nuclei = read_info(parquet), count(parquet)
    if kept.folder.is_dir():
        sweep(kept.folder)
    missing = np.setdiff1d(np.arange(1, nuclei + 1), kept.ids(), assume_unique=True)
    with Client(**({"retry_for": SERVER["retry_for"]} | server | {"transport": "grpc"})) as client:
        release = client.check().release
        client.check_features()
        if release.digests.get("weights_sha256") != wanted.weights_sha256:
            raise ServerError(
                f"{wanted.owner} belongs to the weights of {wanted.release}, and the server at "
                f"{client.url} serves {release.name}: serve those weights."
            )
        with tqdm(
            desc=info.slide,
            total=nuclei,
            initial=nuclei - len(missing),
            unit="nucleus",
            disable=None if bar is None else not bar,
        ) as shown:
            scaled = scaled_for(result, slide, client)
            for ids, features in features_of(result, scaled, client, missing):
                lock.check()
                client.check_unchanged()
                kept.add(ids, features)
                shown.update(len(ids))
    kept.finish(nuclei, wanted.weights_sha256)
