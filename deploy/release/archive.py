"""The archive of a release: the served models, their model card and a manifest of all files."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final

RELEASE: Final = "model_repository/nuclei_postprocess/1/release.json"
MANIFEST: Final = "manifest.json"


class ReleaseError(Exception):
    """A release cannot be made, moved or trusted; the message is one line that says why."""


def contents(root: Path) -> dict[str, bytes]:
    """Read the files of a release, including the manifest, by their names in the archive.

    Raises
    ------
    ReleaseError
        If the model repository has not been converted.
    OSError
        If a file cannot be read.
    """
    if not (root / RELEASE).is_file():
        raise ReleaseError(f"{RELEASE} is missing: run `make convert` first.")
    paths = [p for p in (root / "model_repository").rglob("*") if "__pycache__" not in p.parts]
    paths += [root / "weights/MODEL_CARD.md", *(root / "build/sbom").glob("*.json")]
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in paths if not p.is_dir()}
    manifest = {
        "release": json.loads(files[RELEASE])["release"],
        "files": {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
    }
    files[MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    return files


def write(files: dict[str, bytes], path: Path) -> None:
    """Write a tar whose bytes depend only on names and contents."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)  # Time, user and group are 0, the mode is 0644.
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))


def read(path: Path) -> dict[str, bytes]:
    """Read the files of an archive by name after checking all of them against the manifest.

    Raises
    ------
    ReleaseError
        If it is not the archive of a release, or differs from its manifest; names the file.
    """
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if place.is_absolute() or ".." in place.parts:
                    raise ReleaseError(f"{path.name}: {member.name} points outside the archive.")
                if not member.isfile():
                    raise ReleaseError(f"{path.name}: {member.name} is not an ordinary file.")
                if member.name in files:
                    raise ReleaseError(f"{path.name}: {member.name} occurs twice.")
                files[member.name] = archive.extractfile(member).read()
        expected = json.loads(files[MANIFEST])["files"]
    except (tarfile.TarError, OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(f"{path.name} is damaged, or not the archive of a release.") from error
    for name in sorted(files.keys() - {MANIFEST} | expected.keys()):
        if name not in expected:
            raise ReleaseError(f"{path.name}: {name} is not in the manifest.")
        if name not in files:
            raise ReleaseError(f"{path.name}: {name} is in the manifest but missing.")
        if hashlib.sha256(files[name]).hexdigest() != expected[name]:
            raise ReleaseError(f"{path.name}: {name} does not match the manifest.")
    return files


def unpack(path: Path, folder: Path) -> None:
    """Write every file of an archive below `folder`.

    Raises
    ------
    ReleaseError
        As raised by `read`, before anything is written.
    OSError
        If a file cannot be written.
    """
    for name, content in read(path).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
