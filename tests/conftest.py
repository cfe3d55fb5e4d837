"""The model repository and one real server, shared by all tests of the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deploy.server import ARTEFACT, TritonServer
from deploy.setup import ROOT, find_environment
from samples.synthetic import generate


@pytest.fixture(scope="session")
def repository() -> Path:
    """The project's model repository with the converted network in place."""
    path = ROOT / "model_repository"
    if not (path / ARTEFACT).is_file():
        pytest.fail(f"model_repository/{ARTEFACT} is missing: run `make convert` first.")
    return path


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[TritonServer]:
    """One running Triton server with all models ready."""
    if find_environment() is None:
        pytest.fail("build/triton-env is missing or out of date: run `make setup` first.")
    with TritonServer(repository) as running:
        yield running


@pytest.fixture(scope="session")
def patches() -> np.ndarray:
    """Synthetic H&E patches, uint8 [32, 256, 256, 3]; the last one is blank glass."""
    field = generate(512, 1024, nuclei=220, seed=7).image
    tiles = field.reshape(2, 256, 4, 256, 3).swapaxes(1, 2).reshape(8, 256, 256, 3)
    patches = np.concatenate([tiles, tiles[:, ::-1], tiles[:, :, ::-1], tiles.swapaxes(1, 2)])
    patches[-1] = 255
    return patches
