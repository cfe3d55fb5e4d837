"""A signed release through a real registry: `make release-test`, by Debian's docker-registry.

The commands run as an operator runs them, in the environment of deploy/release/requirements.txt.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import free_port
from registry import Registry, new_keys, running

from deploy.release import archive
from serving.environment import ROOT

pytestmark = pytest.mark.long

PYTHON = ROOT / "build/release-env/bin/python"


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Iterator[Registry]:
    with running(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    """Folder with two pairs: release.pem and release.pub, other.pem and other.pub."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("release", "other"):
        new_keys(folder, name)
    return folder


def _release(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [PYTHON, "-m", "deploy.release", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _did(*arguments: str | Path) -> str:
    done = _release(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _refused(*arguments: str | Path) -> str:
    done = _release(*arguments)
    assert done.returncode == 1, done.stdout
    assert done.stderr.count("\n") == 1
    return done.stderr.strip()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The archive of what this checkout serves."""
    return Path(_did("make", "--out", tmp_path_factory.mktemp("release")))


@pytest.fixture(scope="module")
def pushed(registry, keys, made) -> str:
    _did("sign", made, "--key", keys / "release.pem")
    return _did("push", made, f"{registry.address}/nuclei/tsfd:1")


def _layers(registry: Registry, reference: str) -> list[str]:
    """Digests of archive and signature."""
    manifest = json.loads(registry.blob(reference.partition("@")[2]).read_bytes())
    return [layer["digest"] for layer in manifest["layers"]]


def test_what_is_fetched_is_what_is_served_here(pushed, keys, tmp_path):
    folder = tmp_path / "models" / "release"
    assert _did("fetch", pushed, "--to", folder, "--key", keys / "release.pub") == (
        f"{folder} is {pushed}"
    )
    served = {p.relative_to(ROOT) for p in (ROOT / "model_repository").rglob("*") if p.is_file()}
    served = {path for path in served if "__pycache__" not in path.parts}
    fetched = {p.relative_to(folder) for p in (folder / "model_repository").rglob("*")}
    assert {path for path in fetched if (folder / path).is_file()} == served
    for path in served:
        assert (folder / path).read_bytes() == (ROOT / path).read_bytes()
    assert list(folder.parent.iterdir()) == [folder]


def test_a_second_fetch_has_nothing_to_do(pushed, keys, tmp_path):
    fetch = ("fetch", pushed, "--to", tmp_path / "release", "--key", keys / "release.pub")
    _did(*fetch)
    assert _did(*fetch) == f"{tmp_path / 'release'} was already {pushed}"


def test_a_folder_with_something_else_is_left_alone(pushed, keys, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    assert _refused("fetch", pushed, "--to", tmp_path, "--key", keys / "release.pub") == (
        f"release: {tmp_path} exists and is not {pushed}: choose another folder."
    )
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_a_tag_is_refused(registry, keys, tmp_path):
    name = f"{registry.address}/nuclei/tsfd:1"
    said = _refused("fetch", name, "--to", tmp_path / "out", "--key", keys / "release.pub")
    assert said.startswith(f"release: {name} may point to another release one day: ")


def test_another_key_is_refused(pushed, keys, made, tmp_path):
    other = keys / "other.pub"
    said = _refused("fetch", pushed, "--to", tmp_path / "out", "--key", other)
    assert said.startswith(f"release: {made.name} is not signed with {other}: Key mismatch")
    assert list(tmp_path.iterdir()) == []


def test_an_unsigned_release_is_not_pushed(registry, made, tmp_path):
    alone = shutil.copy(made, tmp_path)
    said = _refused("push", alone, f"{registry.address}/nuclei/tsfd:2")
    assert said == f"release: {alone}.sig is missing: make the release and sign it first."


def test_bytes_changed_in_the_registry_are_refused(registry, keys, made, tmp_path):
    reference = _did("push", made, f"{registry.address}/nuclei/changed:1")
    blob = registry.blob(_layers(registry, reference)[0])
    whole = blob.read_bytes()
    try:
        blob.write_bytes(whole[:5000] + b"!" + whole[5001:])
        said = _refused("fetch", reference, "--to", tmp_path / "out", "--key", keys / "release.pub")
    finally:
        blob.write_bytes(whole)
    assert said == (
        f"release: {made.name}: what {registry.address} returned does not match the digest."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_changed_in_the_registry_is_refused(registry, keys, pushed, tmp_path):
    blob = registry.blob(pushed.partition("@")[2])
    whole = blob.read_bytes()
    try:
        blob.write_bytes(whole.replace(b'"schemaVersion":', b'"schemaVersion" :'))
        said = _refused("fetch", pushed, "--to", tmp_path / "out", "--key", keys / "release.pub")
    finally:
        blob.write_bytes(whole)
    assert pushed in said
    assert list(tmp_path.iterdir()) == []


def test_a_file_changed_under_an_old_signature_is_refused_by_its_name(
    registry, keys, made, tmp_path
):
    name = "model_repository/nuclei_postprocess/1/model.py"
    forged = tmp_path / made.name
    archive.write(archive.read(made) | {name: b"import os"}, forged)
    shutil.copy(f"{made}.sig", f"{forged}.sig")
    reference = _did("push", forged, f"{registry.address}/nuclei/forged:1")
    said = _refused("fetch", reference, "--to", tmp_path / "out", "--key", keys / "release.pub")
    assert said.startswith(f"release: {made.name} is not signed with {keys / 'release.pub'}: ")
    assert said.endswith(f" {made.name}: {name} does not match the manifest.")
    assert not (tmp_path / "out").exists()


def test_no_registry_is_one_line(keys, made):
    address = f"127.0.0.1:{free_port()}"
    said = _refused("push", made, f"{address}/nuclei/tsfd:1")
    assert said == f"release: The registry {address} cannot be reached."


def test_what_is_no_key_is_one_line(keys, made, pushed, tmp_path):
    said = _refused("sign", made, "--key", keys / "release.pub")
    assert said.startswith(f"release: {made} cannot be signed with {keys / 'release.pub'}: ")
    missing = tmp_path / "none.pub"
    assert _refused("fetch", pushed, "--to", tmp_path / "out", "--key", missing) == (
        f"release: There is no public key {missing}."
    )
