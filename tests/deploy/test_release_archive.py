"""The archive of a release: the same bytes for the same content, every file accounted for."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from deploy.release import archive


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small checkout with a converted model repository, of release "lite-1"."""
    for name, text in {
        archive.RELEASE: '{"release": "lite-1"}',
        "model_repository/nuclei_segmentation/1/.gitkeep": "",
        "model_repository/nuclei_postprocess/1/__pycache__/model.pyc": "compiled",
        "weights/MODEL_CARD.md": "card",
        "build/sbom/server.json": "{}",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_same_content_gives_the_same_bytes(root):
    archive.write(archive.contents(root), root / "first.tar")
    os.utime(root / archive.RELEASE, (1, 1))
    (root / archive.RELEASE).chmod(0o600)
    archive.write(archive.contents(root), root / "second.tar")
    assert (root / "first.tar").read_bytes() == (root / "second.tar").read_bytes()


def test_manifest_names_every_file_with_its_hash(root):
    archive.write(archive.contents(root), root / "release.tar")
    with tarfile.open(root / "release.tar") as tar:
        held = {member.name: tar.extractfile(member).read() for member in tar}
    manifest = json.loads(held.pop("manifest.json"))
    assert manifest["release"] == "lite-1"
    assert manifest["files"] == {n: hashlib.sha256(b).hexdigest() for n, b in held.items()}
    assert sorted(held) == [
        "build/sbom/server.json",
        archive.RELEASE,
        "model_repository/nuclei_segmentation/1/.gitkeep",
        "weights/MODEL_CARD.md",
    ]


def test_unconverted_repository_is_refused(root):
    (root / archive.RELEASE).unlink()
    with pytest.raises(FileNotFoundError, match="make convert"):
        archive.contents(root)
