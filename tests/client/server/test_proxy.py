"""Proxies that the environment names: for other machines, never for this one."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from serving.server import TritonServer
from tests.client.commands import TSFD
from tsfd_client import Client, ServerUnavailableError
from tsfd_client.server.address import proxy_of

DEAD = "http://user:secret@127.0.0.1:9"
VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")


@pytest.fixture(autouse=True)
def none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def proxy(to: str | None = None, code: int = 403) -> Iterator[tuple[str, list[str]]]:
    """Address of an HTTP proxy that tunnels to one server, or refuses; and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(self.path)
            if to is None:
                self.send_error(code)
                return
            self.send_response(200)
            self.end_headers()
            host, _, port = to.rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                back = threading.Thread(target=copy, args=(server, self.connection), daemon=True)
                back.start()
                copy(self.connection, server)

        def log_message(self, *_: object) -> None:
            pass

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # whoever hangs up first
            while content := source.recv(65536):
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as standing:
        standing.daemon_threads = True
        thread = threading.Thread(target=standing.serve_forever)
        thread.start()
        yield f"127.0.0.1:{standing.server_port}", asked
        standing.shutdown()
        thread.join()


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_this_machine_is_asked_directly(
    server: TritonServer, monkeypatch: pytest.MonkeyPatch, variable: str, host: str
) -> None:
    monkeypatch.setenv(variable, DEAD)
    port = server.grpc_url.rpartition(":")[2]
    with Client(f"{host}:{port}") as client:
        assert client.check().release == client.release()


def test_another_machine_is_asked_through_the_proxy(
    server: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy(server.grpc_url) as (address, asked):
        monkeypatch.setenv("https_proxy", f"http://user:secret@{address}")
        monkeypatch.setenv("http_proxy", DEAD)  # which comes after
        with Client("gpu-host:8001") as client:
            client.check()
    assert asked == ["gpu-host:8001"]


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_dead_proxy_is_named_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, DEAD)
    with Client("gpu-host:8001", retry_for=1e9) as client:
        for ask in (client.check, client.release):
            with pytest.raises(ServerUnavailableError) as caught:
                ask()
            assert str(caught.value) == (
                f"No Triton server answers at gpu-host:8001 through the proxy 127.0.0.1:9, which "
                f"{variable} names: add gpu-host to no_proxy if it can be reached directly."
            )


@pytest.mark.parametrize("code", [403, 407])
def test_a_proxy_that_refuses_costs_one_line(code: int) -> None:
    with proxy(code=code) as (address, _):
        run = subprocess.run(
            [*TSFD, "check", "--server=gpu-host:8001"],
            env=os.environ | {"http_proxy": f"http://{address}"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (run.returncode, run.stderr) == (
        1,
        f"tsfd: No Triton server answers at gpu-host:8001 through the proxy {address}, which "
        "http_proxy names: add gpu-host to no_proxy if it can be reached directly.\n",
    )


def test_a_proxy_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = "{}:{}".format(*silent.getsockname())
        monkeypatch.setenv("http_proxy", f"http://{address}")
        with Client("gpu-host:8001") as client, pytest.raises(ServerUnavailableError) as caught:
            client.check()
    assert str(caught.value) == (
        f"The server at gpu-host:8001 did not answer in time through the proxy {address}, which "
        "http_proxy names: it is overloaded, or the timeout is too short, or gpu-host belongs in "
        "no_proxy."
    )


@pytest.mark.parametrize(
    ("url", "names", "exceptions"),
    [
        ("gpu-host.lab:8001", DEAD, "other,.lab"),
        ("gpu-host.lab:8001", DEAD, "gpu-host.lab"),
        ("gpu-host.lab:8001", DEAD, "*"),
        ("192.0.2.7:8001", DEAD, "10.0.0.0/8, 192.0.2.0/24,no/network"),
        ("[2001:db8::7]:8001", DEAD, "2001:db8::/32"),
        ("127.8.0.1:8001", DEAD, ""),
        ("[::1]:8001", DEAD, ""),
        ("gpu-host.lab:8001", "", ""),
        ("gpu-host.lab:8001", "https://127.0.0.1:9", ""),  # gRPC knows no such proxies
        ("gpu-host.lab:8001", "127.0.0.1:9", ""),
    ],
)
def test_servers_that_need_no_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, names: str, exceptions: str
) -> None:
    monkeypatch.setenv("http_proxy", names)
    monkeypatch.setenv("no_proxy", exceptions)
    assert proxy_of(url) is None
