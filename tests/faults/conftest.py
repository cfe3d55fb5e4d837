"""Supervised servers, and the table of what became of each fault.

``--reliability FILE`` writes the table into a document, between its two marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rows import Row, table
from supervised import Serving

_MARKS = re.compile(r"(<!-- faults -->\n).*?(<!-- end -->)", re.DOTALL)
_ROWS: list[Row] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", type=Path, help="document to write the table of faults into")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    document = session.config.getoption("--reliability", None)
    if document and exitstatus == pytest.ExitCode.OK:
        text = document.read_text()
        document.write_text(_MARKS.sub(lambda m: m[1] + table(_ROWS) + m[2], text))


@pytest.fixture
def rows() -> list[Row]:
    """Where a test notes what became of its fault."""
    return _ROWS


@pytest.fixture
def serving(repository: Path) -> Iterator[Serving]:
    with Serving(["--repository", str(repository)]) as running:
        yield running
