"""The archive of a release: the same bytes for the same content, nothing but what it lists."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from deploy.release import archive
from deploy.release.archive import ReleaseError


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
    held = archive.read(root / "release.tar")
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
    with pytest.raises(ReleaseError, match="make convert"):
        archive.contents(root)


def test_unpacked_files_are_those_of_the_checkout(root):
    archive.write(archive.contents(root), root / "release.tar")
    archive.unpack(root / "release.tar", root / "out")
    for name in json.loads((root / "out/manifest.json").read_text())["files"]:
        assert (root / "out" / name).read_bytes() == (root / name).read_bytes()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (
            {"weights/MODEL_CARD.md": b"other"},
            "weights/MODEL_CARD.md does not match the manifest",
        ),
        ({"model_repository/evil.py": b"x"}, "model_repository/evil.py is not in the manifest"),
        ({"../evil.py": b"x"}, "../evil.py points outside the archive"),
        ({"/etc/evil": b"x"}, "/etc/evil points outside the archive"),
    ],
)
def test_what_the_manifest_does_not_list_is_refused(root, members, reason):
    archive.write(archive.contents(root) | members, root / "r.tar")
    with pytest.raises(ReleaseError) as refused:
        archive.unpack(root / "r.tar", root / "out")
    assert str(refused.value) == f"r.tar: {reason}."
    assert not (root / "out").exists()


def test_a_missing_file_is_refused(root):
    files = archive.contents(root)
    del files["weights/MODEL_CARD.md"]
    archive.write(files, root / "r.tar")
    with pytest.raises(
        ReleaseError, match=r"weights/MODEL_CARD.md is in the manifest but missing\.$"
    ):
        archive.read(root / "r.tar")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(root, kind):
    archive.write(archive.contents(root), root / "r.tar")
    member = tarfile.TarInfo("weights/link")
    member.type, member.linkname = kind, "/etc/passwd"
    with tarfile.open(root / "r.tar", "a") as tar:
        tar.addfile(member)
    with pytest.raises(ReleaseError, match=r"^r.tar: weights/link is not an ordinary file\.$"):
        archive.read(root / "r.tar")


def test_a_name_that_is_there_twice_is_refused(root):
    archive.write(archive.contents(root), root / "r.tar")
    member = tarfile.TarInfo("weights/MODEL_CARD.md")
    member.size = 5
    with tarfile.open(root / "r.tar", "a") as tar:
        tar.addfile(member, io.BytesIO(b"other"))
    with pytest.raises(ReleaseError, match=r"^r.tar: weights/MODEL_CARD.md occurs twice\.$"):
        archive.read(root / "r.tar")


@pytest.mark.parametrize("content", [b"", b"no archive", b"\0" * 10240])
def test_what_is_no_archive_is_refused(root, content):
    (root / "r.tar").write_bytes(content)
    with pytest.raises(
        ReleaseError, match=r"^r.tar is damaged, or not the archive of a release\.$"
    ):
        archive.read(root / "r.tar")
