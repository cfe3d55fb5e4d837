"""A network that misbehaves between client and server: late or refused, never wrong, no hang."""

from __future__ import annotations

import time

import numpy as np
import pytest
from load import Load
from programs import until
from proxy import Proxy
from rows import Row

from serving.server import TritonServer
from tsfd_client import Client, ServerUnavailableError


def test_a_slow_network(server: TritonServer, patches: np.ndarray, rows: list[Row]) -> None:
    """Every chunk is late; what takes longer than the deadline is given up at the deadline."""
    with Client(server.grpc_url) as direct, Proxy(server.grpc_url) as proxy:
        right = direct.segment_tiles(patches[:8])
        proxy.latency = 0.1
        with Client(proxy.url) as client:
            found = client.segment_tiles(patches[:8])
        for a, b in zip(found, right, strict=True):
            assert np.array_equal(a.instance_map, b.instance_map)
            assert np.array_equal(a.nuclei, b.nuclei)
        proxy.latency = 5
        begin = time.monotonic()
        with (
            Client(proxy.url, timeout=1, retry_for=0) as client,
            pytest.raises(ServerUnavailableError, match="did not answer in time"),
        ):
            client.segment_tiles(patches[:1])
        seconds = time.monotonic() - begin
    rows.append(Row("network: 100 ms per chunk", "late, right answers", None, 1, 0))
    outcome = "the deadline's error, at the deadline (1 s)"
    rows.append(Row("network: 5 s per chunk", outcome, seconds, 0, 1))


def test_writes_of_one_byte(server: TritonServer, patches: np.ndarray, rows: list[Row]) -> None:
    with Client(server.grpc_url) as direct, Proxy(server.grpc_url) as proxy:
        (right,) = direct.segment_tiles(patches[:1])
        proxy.chunk = 1
        begin = time.monotonic()
        with Client(proxy.url) as client:
            (found,) = client.segment_tiles(patches[:1])
        seconds = time.monotonic() - begin
    assert np.array_equal(found.instance_map, right.instance_map)
    rows.append(Row("network: writes of one byte", "late, right answers", seconds, 1, 0))


def test_resets(server: TritonServer, patches: np.ndarray, rows: list[Row]) -> None:
    with Proxy(server.grpc_url) as proxy:
        with Load(proxy.url, patches[:4]) as load:
            for _ in range(5):
                time.sleep(0.5)
                proxy.reset()
            time.sleep(2)
        assert load.wrong == 0
        assert load.failures == load.refused == []
        outcome = "clients ride through"
        rows.append(Row("network: five resets", outcome, load.gap(), load.answered, 0))


@pytest.mark.long
def test_half_open(server: TritonServer, patches: np.ndarray, rows: list[Row]) -> None:
    """The connection stays, nothing passes: requests end at their deadline, none hangs."""
    with Proxy(server.grpc_url) as proxy:
        with Load(proxy.url, patches[:4], timeout=3) as load:
            proxy.is_half_open = True
            time.sleep(10)
            proxy.is_half_open = False
            answered = load.answered
            seconds = until(lambda: load.answered > answered)
        assert load.wrong == 0
        assert load.failures == []
        assert all("did not answer in time" in refusal for refusal in load.refused)
        assert len(load.refused) >= 3
        outcome = "the deadline's error, at the deadline (3 s); then answers again"
        fault = "network: half open for 10 s"
        rows.append(Row(fault, outcome, seconds, load.answered, len(load.refused)))
