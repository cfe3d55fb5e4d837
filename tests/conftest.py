"""The model repository and one real server, shared by all tests of a session.

Tests that use either, or other costly fixtures, are marked ``slow``: `make test-fast` leaves them
out. With CI=true a skip fails the run unless its reason is listed in ``skips.toml``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from samples.synthetic import generate
from serving.environment import ROOT, find_environment
from serving.server import ARTEFACT, TritonServer

_COSTLY = {"repository", "server", "saved_model", "model", "half", "rtx"}
# Folders whose files share a costly fixture, or of which two at once are slower than one after the
# other: without a GPU, a browser keeps both cores busy.
_TOGETHER = {"conversion", "client/view"}
_LONG = (
    "client/view",
    "conversion",
    "training/test_train.py",
    "training/test_train_on_jax.py",
    "test_another_release.py",
    "loadtest/test_loadtest.py",
    "faults/test_processes.py",
    "bench/test_bench.py",
    "training/test_tune.py",
    "training/test_evaluate.py",
    "training/model/test_network.py",
    "client/stitching/test_seams.py",
    "serving/test_first_start.py",
    "deploy/test_container.py",
)
"""The slowest groups, which start first, so that all processes finish at about the same time."""

_SKIPS = Path(__file__).with_name("skips.toml")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark costly tests as slow, and keep the tests of a file in one process."""
    place = {group: number for number, group in enumerate(_LONG)}

    def group(item: pytest.Item) -> str:
        path = item.path.relative_to(Path(__file__).parent)
        folders = {folder.as_posix() for folder in path.parents} & _TOGETHER
        return folders.pop() if folders else path.as_posix()

    items.sort(key=lambda item: place.get(group(item), len(place)))
    for item in items:
        if _COSTLY & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        item.add_marker(pytest.mark.xdist_group(group(item)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in continuous integration that skipped a test without a known reason."""
    if os.environ.get("CI") != "true" or hasattr(session.config, "workerinput"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    known = tuple(skip["reason"] for skip in tomllib.loads(_SKIPS.read_text())["skip"])
    for report in reporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(known):
            reporter.write_line(f"{report.nodeid} was skipped, not in {_SKIPS.name}: {reason}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def repository() -> Path:
    """The tests' own model repository, with the shipped network."""
    path = ROOT / "build" / "tests" / "model_repository"
    if not (path / ARTEFACT).is_file():
        pytest.fail(f"{path / ARTEFACT} is missing: run `python -m tests.repository` first.")
    return path


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[TritonServer]:
    """A running Triton server with all models ready."""
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
