"""Slides in an S3 bucket, by moto's S3: `make release-test`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from s3 import KEYS, SECRETS, call, s3

from serving.server import TritonServer
from tests.client.commands import TSFD, outputs
from tests.client.slide_files import strip, write_tiff
from tsfd_client.cli import main

pytestmark = pytest.mark.long

PUT = """
import sys, boto3
store = boto3.client("s3", endpoint_url=sys.argv[1])
if sys.argv[2] == "bucket":
    store.create_bucket(Bucket="slides")
store.upload_file(sys.argv[3], "slides", "far/a b.tif")
"""


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """Address of an S3."""
    with s3() as address:
        yield address


def test_a_slide_in_a_bucket(store: str, server: TritonServer, tmp_path: Path) -> None:
    slide, out = tmp_path / "a b.tif", tmp_path / "out"
    write_tiff(slide, strip(2, seed=6))
    with slide.open("ab") as file:
        file.write(np.random.default_rng(0).bytes(12 << 20))
    call(PUT, store, "bucket", slide)
    options = [f"--server={server.grpc_url}"]
    assert main(["segment", str(slide), f"--out={tmp_path / 'local'}", *options]) == 0
    own = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    environment = os.environ | own | KEYS | {"AWS_ENDPOINT_URL": store}

    def tsfd(*words: str, keys: dict[str, str] = environment) -> subprocess.CompletedProcess[str]:
        command = [*TSFD, *words, f"--cache={tmp_path / 'cache'}"]
        done = subprocess.run(command, env=keys, capture_output=True, text=True, check=False)
        assert not any(secret in done.stdout + done.stderr for secret in SECRETS.values())
        return done

    segment = ("segment", "s3://slides/far/a b.tif", f"--out={out}", *options)
    done = tsfd(*segment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    folder = out / "a b"
    assert outputs(folder) == outputs(tmp_path / "local/a b")
    origin = json.loads((folder / "origin.json").read_text())
    assert origin["path"] == "s3://slides/far/a b.tif"
    for path in filter(Path.is_file, [*out.rglob("*"), *(tmp_path / "cache").rglob("*.lock")]):
        assert not any(secret.encode() in path.read_bytes() for secret in SECRETS.values())

    assert tsfd("measure", str(folder), "--cache-size=0").returncode == 0
    assert not any((tmp_path / "cache").iterdir())

    # By ~/.aws alone.
    (tmp_path / ".aws").mkdir()
    lines = [f"{name.lower()} = {value}" for name, value in SECRETS.items()]
    (tmp_path / ".aws/credentials").write_text("\n".join(["[default]", *lines]))
    without = {name: value for name, value in environment.items() if name not in SECRETS}
    assert tsfd(*segment, keys=without).returncode == 0

    (tmp_path / ".aws/credentials").unlink()
    said = tsfd(*segment, keys=without).stderr
    assert said.startswith("tsfd: s3://slides/far/a b.tif needs credentials: set AWS_PROFILE, or")
    assert said.count("\n") == 1
    assert tsfd(*segment, keys=without | {"FSSPEC_S3_ANON": "true"}).returncode == 0

    for gone in ("s3://slides/none.svs", "s3://nowhere/none.svs"):
        done = tsfd("segment", gone, f"--out={tmp_path / 'none'}", *options)
        assert done.stderr == f"tsfd: There is no file {gone}.\n"
    done = tsfd("segment", "s3://slides/far", f"--out={tmp_path / 'none'}", *options)
    assert done.stderr == "tsfd: s3://slides/far is a folder: name the files in it.\n"

    write_tiff(slide, strip(2, seed=7))
    call(PUT, store, "", slide)
    assert "has changed on its store since" in tsfd(*segment).stderr
