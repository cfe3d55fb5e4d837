"""Containers run by podman as they are in production: confined, as the image's own user."""

from __future__ import annotations

import subprocess
from typing import Final

import pytest

CONFINED: Final = [
    *("--runtime=runc", "--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp"),
    *("--cap-drop=ALL", "--security-opt=no-new-privileges"),
    *("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"),
]
"""Of `podman run`."""


def podman(*words: str) -> str:
    """What podman prints."""
    done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def need_image(image: str) -> None:
    """Fail where an image has not been built."""
    if subprocess.run(["podman", "image", "exists", image], check=False).returncode:
        pytest.fail(f"There is no image {image}: run `make image` first.")
