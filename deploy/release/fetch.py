"""Fetch a release from a registry into a folder that is either complete or absent."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from deploy.release import archive, registry, signature
from deploy.release.archive import ReleaseError

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_FETCHED = "fetched.txt"  # the reference that a folder was fetched by


def fetch(reference: str, folder: Path, public_key: Path) -> bool:
    """Fetch ``REGISTRY/NAME@sha256:...`` into `folder`; return whether there was anything to do.

    The digests of the downloads, the signature, the names in the archive and the hash of every file
    are checked in this order before anything is unpacked.

    Raises
    ------
    ReleaseError
        If a check fails, or `folder` holds something else. `folder` is left unchanged.
    OSError
        If `folder` cannot be written.
    """
    if not _DIGEST.search(reference):
        raise ReleaseError(
            f"{reference} may point to another release one day: give its digest, "
            "REGISTRY/NAME@sha256:..., as printed by push."
        )
    if folder.exists():
        note = folder / _FETCHED
        if note.is_file() and note.read_text().strip() == reference:
            return False
        raise ReleaseError(f"{folder} exists and is not {reference}: choose another folder.")
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
        except ReleaseError as changed:  # names the file
            raise ReleaseError(f"{unsigned} {changed}") from changed
        raise
