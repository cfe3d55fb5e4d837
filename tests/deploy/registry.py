"""A real OCI registry, Debian's docker-registry, and keys to sign with."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from programs import answers, free_port, need, until


@dataclass(frozen=True)
class Registry:
    """Where a registry answers and where it keeps what it is given."""

    address: str
    storage: Path

    def blob(self, digest: str) -> Path:
        """The file of a blob."""
        algorithm, number = digest.split(":")
        blobs = self.storage / "docker/registry/v2/blobs"
        return blobs / algorithm / number[:2] / number / "data"


@contextmanager
def running(folder: Path) -> Iterator[Registry]:
    """A registry that keeps everything in `folder`, on a free port of this machine."""
    program = need("docker-registry")
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": address},
    }
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [program, "serve", folder / "config.yml"], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            until(lambda: answers(f"http://{address}/v2/"), 10)
            yield Registry(address, folder / "storage")
        finally:
            server.terminate()
            server.wait()


def new_keys(folder: Path, name: str) -> None:
    """Write a pair of an elliptic curve: NAME.pem, private, and NAME.pub."""
    openssl = need("openssl")
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    new = [openssl, "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", private]
    subprocess.run(new, check=True)
    export = [openssl, "ec", "-in", private, "-pubout", "-out", public]
    subprocess.run(export, check=True, capture_output=True)
