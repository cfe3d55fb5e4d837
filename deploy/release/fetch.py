"""A release out of a registry, into a folder that is whole or not there."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from deploy.release import archive, registry, signature
from deploy.release.archive import ReleaseError

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_FETCHED = "fetched.txt"  # what a folder was fetched as


def fetch(reference: str, folder: Path, public_key: Path) -> bool:
    """Fetch ``REGISTRY/NAME@sha256:...`` into `folder`; return whether there was anything to do.

    In this order: the digests of what the registry gives, the signature, the names in the archive
    against its manifest, and every file's hash. Only then is anything unpacked.

    Raises
    ------
    ReleaseError
        If any of it is not as it should be, or `folder` holds something else. `folder` is as
        before.
    OSError
        If `folder` cannot be written.
    """
    if not _DIGEST.search(reference):
        raise ReleaseError(
            f"{reference} can come to mean another release: name it by its digest, "
            "REGISTRY/NAME@sha256:..., as push printed it."
        )
    if folder.exists():
        note = folder / _FETCHED
        if note.is_file() and note.read_text().strip() == reference:
            return False
        raise ReleaseError(f"{folder} is there already and is not {reference}: name another.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        pulled = registry.pull(reference, Path(temporary))
        _verify(pulled, public_key)
        whole = Path(temporary) / "whole"
        archive.unpack(pulled, whole)
        (whole / _FETCHED).write_text(f"{reference}\n")
        whole.rename(folder)
    return True


def _verify(pulled: Path, public_key: Path) -> None:
    try:
        signature.verify(pulled, public_key)
    except ReleaseError as unsigned:
        try:
            archive.read(pulled)
        except ReleaseError as changed:  # it says which file
            raise ReleaseError(f"{unsigned} {changed}") from changed
        raise
