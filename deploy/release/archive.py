"""The archive of a release: what is served, its model card and a manifest of every file."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

RELEASE = "model_repository/nuclei_postprocess/1/release.json"


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a release by its name in the archive, manifest.json among them.

    Raises
    ------
    FileNotFoundError
        Where the model repository has not been converted, or has no model card.
    """
    if not (root / RELEASE).is_file():
        raise FileNotFoundError(f"{RELEASE} is missing: run `make convert` first")
    paths = [p for p in (root / "model_repository").rglob("*") if "__pycache__" not in p.parts]
    paths += [root / "weights/MODEL_CARD.md", *(root / "build/sbom").glob("*.json")]
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in paths if not p.is_dir()}
    manifest = {
        "release": json.loads(files[RELEASE])["release"],
        "files": {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)},
    }
    files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    return files


def write(files: dict[str, bytes], path: Path) -> None:
    """Write a tar whose bytes depend on names and contents alone."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)  # Time, user and group are 0, the mode is 0644.
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))
