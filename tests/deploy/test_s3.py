"""A model repository in an S3 bucket, read by Triton itself: `make release-test`, by moto's S3."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from s3 import KEYS, call, s3

from samples import histology
from tsfd_client import Client, read_image

pytestmark = pytest.mark.long

SERVE = [sys.executable, "-m", "serving"]
SERVE += [f"--{name}-port=0" for name in ("grpc", "http", "metrics", "health")]
UPLOAD = """
import pathlib, sys, boto3
store = boto3.client("s3", endpoint_url=sys.argv[1])
store.create_bucket(Bucket="models")
folder = pathlib.Path(sys.argv[2])
for path in folder.rglob("*"):
    if path.is_file() and "__pycache__" not in path.parts:
        store.upload_file(str(path), "models", f"tsfd/{path.relative_to(folder).as_posix()}")
"""


@pytest.fixture(scope="module")
def store(repository: Path) -> Iterator[str]:
    """Address of an S3 with the model repository at ``models/tsfd``."""
    with s3() as address:
        call(UPLOAD, address, repository)
        yield address


def _refused(*options: str) -> str:
    done = subprocess.run(
        [*SERVE, *options], env=os.environ | KEYS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    return done.stderr.strip()


def test_what_the_bucket_serves_is_what_the_folder_serves(store, server):
    image, _ = read_image(histology.path())
    with Client(server.grpc_url) as client:
        expected = client.segment(image)
    command = [*SERVE, f"--repository=s3://{store}/models/tsfd"]
    with subprocess.Popen(
        command, env=os.environ | KEYS, stdout=subprocess.PIPE, text=True
    ) as serving:
        try:
            ready = serving.stdout.readline()
            grpc, health = re.search(r"gRPC (\S+) .* health (\S+)", ready).groups()
            with Client(grpc) as client:
                found = client.segment(image)
            assert urllib.request.urlopen(health).status == 200
        finally:
            serving.send_signal(signal.SIGTERM)
    assert serving.returncode == 0
    np.testing.assert_array_equal(found.instance_map, expected.instance_map)
    np.testing.assert_array_equal(found.classes, expected.classes)
    assert found.release == expected.release


def test_a_bucket_that_is_not_there_is_one_line(store):
    none = f"s3://{store}/models/none"
    assert _refused(f"--repository={none}") == f"There is no model repository at {none}."


def test_an_engine_is_not_fitted_to_a_bucket(store):
    options = (f"--repository=s3://{store}/models/tsfd", "--engines=/tmp", "--rehearse")
    assert _refused(*options).startswith("--engines needs a repository in a folder: ")
