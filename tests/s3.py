"""An S3 on this machine: moto's, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from programs import answers, free_port, until

from serving.environment import ROOT

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIA4711", "AWS_SECRET_ACCESS_KEY": "sesame4711"}
KEYS = {**SECRETS, "AWS_REGION": "us-east-1"}
_MOTO = ROOT / "build/moto-env/bin"


@contextmanager
def s3() -> Iterator[str]:
    """Run it; yields its address."""
    port = free_port()
    command = [_MOTO / "moto_server", "--host=127.0.0.1", f"--port={port}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as store:
        try:
            address = f"http://127.0.0.1:{port}"
            until(lambda: answers(address), 20)
            yield address
        finally:
            store.terminate()


def call(script: str, *arguments: str | Path) -> None:
    """Run a script of boto3."""
    command = [_MOTO / "python", "-c", script, *arguments]
    subprocess.run(command, env=os.environ | KEYS, check=True)
