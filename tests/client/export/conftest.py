"""Runs to export: one at a scale other than 1, one without nuclei."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client.export.run_folder import finished


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A slide of 0.5 mpp: a pixel at 0.25 mpp is half a pixel of level 0."""
    return finished(tmp_path, 0.5)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A slide without nuclei."""
    return finished(tmp_path, 0.5, [])
