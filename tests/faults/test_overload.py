"""Far more than the server can do: it refuses what is too much, stays alive, and recovers."""

from __future__ import annotations

import time

import numpy as np
import pytest
from load import Load
from rows import Row
from supervised import Serving


@pytest.mark.parametrize("seconds", [8, pytest.param(120, marks=pytest.mark.long)])
def test_busy_is_not_dead(
    seconds: float, serving: Serving, patches: np.ndarray, rows: list[Row]
) -> None:
    """More at once than fits into the queue, so that canaries are late or refused."""
    with Load(serving.url, patches[:4], clients=90, retry_for=0, timeout=60) as load:
        time.sleep(seconds)
    assert load.answered
    assert load.refused
    assert load.wrong == 0
    assert load.failures == []
    assert serving.restarts() == 0
    with Load(serving.url, patches[:4], retry_for=0) as after:
        time.sleep(1)
    assert after.refused == after.failures == []
    outcome = f"refuses at once, p99 of the answered {load.latency(99):.1f} s; no restart"
    fault = f"90 clients, 64 places in the queue, {seconds:g} s"
    rows.append(Row(fault, outcome, None, load.answered, len(load.refused)))
    assert serving.end() == ""
