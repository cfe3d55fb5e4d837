"""What a slide takes of memory is bounded: neither its pixels nor the server's answers are held."""

from __future__ import annotations

import pytest

from bench.replay import measure


@pytest.mark.slow
def test_memory_is_bounded() -> None:
    found = measure(3)
    assert found["nuclei"] > 50_000
    # Its pixels alone are 370 MB, the instance maps of its tiles 340 MB.
    assert found["peak_mb"] < 600
