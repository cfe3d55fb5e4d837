"""The cache folder for results in folders that cannot be written to is bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tsfd_client.view import kept

SIZE = 2_000_000_000  # of files without content; two of them are allowed


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders in which nothing can be made: they do not exist."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return [tmp_path / name for name in ("first", "second", "third")]


def write(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(SIZE)


def fresh(folder: Path) -> bool:
    return kept.fresh(folder, "nuclei.bin", 0, Path.exists) is not None


def test_those_not_looked_at_for_longest_go(results: list[Path]) -> None:
    first, second, third = results
    kept.keep(first, "nuclei.bin", write)
    kept.keep(second, "nuclei.bin", write)
    for hour, folder in enumerate((first, second), 1):
        os.utime(kept.cache_of(folder), (3600 * hour, 3600 * hour))
    assert fresh(first)  # looked at again
    kept.keep(third, "nuclei.bin", write)
    assert [fresh(folder) for folder in results] == [True, False, True]
    assert len(list(kept.cache_of(first).parent.iterdir())) == 2
