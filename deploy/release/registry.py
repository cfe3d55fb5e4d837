"""Archives in an OCI registry: an artefact of two layers, the archive and its signature."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import oras.container
import oras.provider
import requests

from deploy.release.archive import ReleaseError
from deploy.release.signature import path_of

_ARCHIVE: Final = "application/vnd.tsfd.release.v1.tar"
_SIGNATURE: Final = "application/vnd.tsfd.release.signature.v1+json"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_TITLE: Final = "org.opencontainers.image.title"
_SECONDS: Final = 10
_LOCAL: Final = ("localhost", "127.0.0.1")


def push(archive: Path, name: str) -> str:
    """Push a signed archive to ``REGISTRY/NAME:TAG``; return ``REGISTRY/NAME@sha256:...``.

    Raises
    ------
    ReleaseError
        If the signature is missing, or the registry cannot be reached or refuses.
    """
    signature = path_of(archive)
    for path in (archive, signature):
        if not path.is_file():
            raise ReleaseError(f"{path} is missing: make the release and sign it first.")
    registry, container = _open(name)
    try:
        pushed = registry.push(
            name,
            files=[f"{archive}:{_ARCHIVE}", f"{signature}:{_SIGNATURE}"],
            disable_path_validation=True,
            quiet=True,
        )
    except (requests.RequestException, ValueError) as error:
        raise ReleaseError(f"{name} cannot be pushed: {str(error).splitlines()[0]}") from error
    digest = pushed.headers["Docker-Content-Digest"]  # not the tag, which others may move
    return f"{container.registry}/{container.api_prefix}@{digest}"


def pull(reference: str, folder: Path) -> Path:
    """Download an artefact by its digest into `folder`; return the archive's path.

    Every part is checked against its digest.

    Raises
    ------
    ReleaseError
        If the registry cannot be reached, lacks the artefact or returns other bytes.
    """
    registry, container = _open(reference)
    try:
        text = _manifest(registry, container)
        if _digest(text) != container.digest:
            raise ReleaseError(f"{container.registry} returned another manifest than {reference}.")
        layers = {layer["mediaType"]: layer for layer in json.loads(text)["layers"]}
        for kind in (_ARCHIVE, _SIGNATURE):
            _download(registry, container, layers[kind], folder)
        archive = folder / layers[_ARCHIVE]["annotations"][_TITLE]
    except (KeyError, TypeError) as error:
        raise ReleaseError(f"{reference} is not a signed release.") from error
    except (requests.RequestException, ValueError) as error:
        raise ReleaseError(f"{reference} cannot be pulled: {str(error).splitlines()[0]}") from error
    return archive


def _download(
    registry: oras.provider.Registry,
    container: oras.container.Container,
    layer: dict[str, Any],
    folder: Path,
) -> None:
    title = layer["annotations"][_TITLE]
    if Path(title).name != title:
        raise ReleaseError(f"The layer's name {title} points outside its folder.")
    path = folder / title
    registry.download_blob(container, layer["digest"], str(path))
    if _digest(path.read_bytes()) != layer["digest"]:
        raise ReleaseError(
            f"{title}: what {container.registry} returned does not match the digest."
        )


def _open(name: str) -> tuple[oras.provider.Registry, oras.container.Container]:
    try:
        container = oras.container.Container(name)
    except ValueError as error:
        raise ReleaseError(f"{name} is not the name of an artefact.") from error
    # A registry on this machine uses plain HTTP.
    local = container.registry.partition(":")[0] in _LOCAL
    registry = oras.provider.Registry(hostname=container.registry, insecure=local)
    try:  # oras itself would keep trying for two minutes
        requests.get(f"{registry.prefix}://{container.registry}/v2/", timeout=_SECONDS)
    except requests.RequestException as error:
        raise ReleaseError(f"The registry {container.registry} cannot be reached.") from error
    registry.auth.load_configs(container)
    return registry, container


def _manifest(registry: oras.provider.Registry, container: oras.container.Container) -> bytes:
    """Download the manifest's exact bytes, which the digest is computed from."""
    address = f"{registry.prefix}://{container.manifest_url()}"
    response = registry.do_request(address, headers={"Accept": _MANIFEST})
    response.raise_for_status()
    return response.content


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
