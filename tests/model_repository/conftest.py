"""A connection to the shared server, its release, and probabilities whose nuclei are known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from serving.server import TritonServer


@pytest.fixture(scope="session")
def client(server: TritonServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.grpc_url) as connection:
        yield connection


@pytest.fixture(scope="session")
def release(repository: Path) -> dict:
    """What ``release.json`` says is served."""
    return json.loads((repository / "nuclei_postprocess/1/release.json").read_text())


@pytest.fixture
def postprocessing(repository: Path, tmp_path: Path) -> Path:
    """A repository of its own that holds a copy of the post-processing alone."""
    copy = tmp_path / "repository"
    shutil.copytree(
        repository / "nuclei_postprocess",
        copy / "nuclei_postprocess",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return copy


@pytest.fixture(scope="session")
def maps() -> dict[str, np.ndarray]:
    """Probabilities with nuclei to find: discs with a rim, more in the second patch, none last."""
    y, x = np.mgrid[:256, :256]
    class_probs = np.zeros((3, 256, 256, 6), np.uint8)
    class_probs[..., 0] = 255
    boundary_prob = np.zeros((3, 256, 256), np.uint8)
    for patch, centres in enumerate([[(40, 60)], [(30, 30), (90, 200), (200, 120)], []]):
        for i, (cy, cx) in enumerate(centres):
            distance = np.hypot(y - cy, x - cx)
            class_probs[patch, distance < 12] = np.eye(6, dtype=np.uint8)[1 + i] * 255
            boundary_prob[patch, abs(distance - 11) < 1] = 255
    return {"class_probs": class_probs, "boundary_prob": boundary_prob}
