"""The client through shared memory: the same results, and nothing left behind."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from programs import until
from tritonclient.utils import InferenceServerException

from serving.server import TritonServer
from tsfd_client import Client, ServerError, ServerUnavailableError, Settings
from tsfd_client.server.shared_memory import Region

ELSEWHERE = {"name": "elsewhere", "key": "/on_another_machine", "byte_size": 64}


def left_behind() -> list[Path]:
    return list(Path("/dev/shm").glob(f"tsfd_client_{os.getpid()}_*"))


def registered(server: TritonServer) -> list[str]:
    with triton.InferenceServerClient(server.grpc_url) as connection:
        return list(connection.get_system_shared_memory_status(as_json=True).get("regions", {}))


def test_several_threads_get_what_plain_grpc_gives(
    server: TritonServer, patches: np.ndarray
) -> None:
    batches = [patches[:4], patches[4:5], patches[8:14], patches[-1:]] * 2
    with Client(server.grpc_url) as plain, Client(server.grpc_url, transport="shm") as shared:
        expected = [plain.segment_tiles(batch) for batch in batches[:4]] * 2
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(shared.segment_tiles, batches))
        assert 1 <= len(left_behind()) <= 4
        assert len(registered(server)) == len(left_behind())

    for some, others in zip(expected, found, strict=True):
        for one, other in zip(some, others, strict=True):
            np.testing.assert_array_equal(one.instance_map, other.instance_map)
            np.testing.assert_array_equal(one.nuclei, other.nuclei)
            np.testing.assert_array_equal(one.tissue_probs, other.tissue_probs)
    assert left_behind() == []
    assert registered(server) == []


class Unchecked(Settings):
    """As a client sends them whose checks are others."""

    def __post_init__(self) -> None:
        pass


def test_a_refused_request_leaves_no_region(server: TritonServer, patches: np.ndarray) -> None:
    with Client(server.grpc_url, transport="shm") as client:
        with pytest.raises(ServerError, match="min_area must be a whole number"):
            client.segment_tiles(patches[:1], settings=Unchecked(min_area=-1))
        assert left_behind() == []
    assert registered(server) == []


def test_a_request_that_took_too_long_leaves_no_region(
    server: TritonServer, patches: np.ndarray
) -> None:
    """Once the server has done with it; until then it may write there."""
    with Client(server.grpc_url, transport="shm", timeout=0.1, retry_for=0) as client:
        with pytest.raises(ServerUnavailableError, match="did not answer in time"):
            client.segment_tiles(patches)
        client.timeout = 60
        until(lambda: client.segment_tiles(patches[:1]) and len(registered(server)) == 1)
        assert len(left_behind()) == 1
    assert registered(server) == []


def forget_regions(server: TritonServer) -> None:
    """Leave the server without regions, as a restart does; it lets go a moment after an answer."""
    deadline = time.monotonic() + 10
    with triton.InferenceServerClient(server.grpc_url) as connection:
        while True:
            try:
                return connection.unregister_system_shared_memory()
            except InferenceServerException:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.02)


def test_a_server_that_has_forgotten_the_regions_is_asked_again(
    server: TritonServer, patches: np.ndarray
) -> None:
    with Client(server.grpc_url, transport="shm") as client:
        before = client.segment_tiles(patches[:1])
        forget_regions(server)
        after = client.segment_tiles(patches[:1])
    np.testing.assert_array_equal(before[0].instance_map, after[0].instance_map)
    assert left_behind() == []


def test_a_server_on_another_machine_is_named(
    server: TritonServer, patches: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds no region of that name."""
    monkeypatch.setattr(Region, "registration", lambda _: ELSEWHERE)
    with (
        Client(server.grpc_url, transport="shm") as client,
        pytest.raises(ServerError) as caught,
    ):
        client.segment_tiles(patches[:1])
    assert str(caught.value) == (
        f"The server at {server.grpc_url} cannot open this machine's shared memory: "
        "transport='shm' is for a server on the same machine; use transport='grpc'."
    )
    assert left_behind() == []


def test_a_server_that_shares_no_memory_is_not_asked_again(
    tmp_path: Path, patches: np.ndarray
) -> None:
    """One that other machines reach; waiting would change nothing."""
    (tmp_path / "empty").mkdir()
    with TritonServer(tmp_path / "empty", host="0.0.0.0", log_path=tmp_path / "log") as open_one:
        url = open_one.grpc_url.replace("0.0.0.0", "127.0.0.1")
        with Client(url, transport="shm", retry_for=3600) as client:
            assert not client.shares_memory()
            with pytest.raises(ServerError) as caught:
                client.segment_tiles(patches[:1])
    assert str(caught.value) == (
        f"The server at {url} cannot open this machine's shared memory: transport='shm' is for "
        "a server on the same machine; use transport='grpc'."
    )
    assert left_behind() == []


def test_a_header_that_the_server_wants_is_named(
    tmp_path: Path, patches: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has nothing to do with shared memory."""
    monkeypatch.setattr(TritonServer, "_restricted", lambda _: "inference:key=secret")
    (tmp_path / "empty").mkdir()
    with (
        TritonServer(tmp_path / "empty", log_path=tmp_path / "log") as server,
        Client(server.grpc_url) as client,
        pytest.raises(ServerError) as caught,
    ):
        client.segment_tiles(patches[:1])
    assert str(caught.value) == (
        f"The server at {server.grpc_url} answers only requests with a certain header: pass the "
        "one set by its operator with --header (in Python, headers=). It says: This "
        "protocol is restricted, expecting header 'triton-grpc-protocol-key'"
    )


def test_unknown_transport() -> None:
    with pytest.raises(ValueError, match=r"^transport must be grpc or shm, not 'http'\.$"):
        Client("localhost:9", transport="http")
