"""The gateway: nginx with the project's own configuration, before a real server."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
import tritonclient.grpc as triton
from programs import free_port, need

from samples.synthetic import generate
from serving.environment import ROOT
from serving.server import TritonServer
from tsfd_client import Client, ServerError, ServerUnavailableError
from tsfd_client.cli import main

TEMPLATE = (ROOT / "deploy/gateway/gateway.conf.template").read_text()
TOKEN = "b2c1d6d2a1f14c50"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
MODEL = "nuclei_segmentation"
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/gateway.conf;
}}
"""


@dataclass(frozen=True)
class Gateway:
    """A running gateway, and the folder with everybody's keys and certificates."""

    url: str
    keys: Path

    def tls(self, who: str | None = "client") -> dict[str, object]:
        """The client's options for TLS, with somebody's certificate or none."""
        files = {"private_key": "key", "certificate_chain": "pem"} if who else {}
        mine = {option: str(self.keys / f"{who}.{kind}") for option, kind in files.items()}
        return {"ssl": True, "root_certificates": str(self.keys / "authority.pem")} | mine

    def client(self, **options: object) -> Client:
        return Client(self.url, **(self.tls() | {"headers": AUTHORIZED} | options))

    def options(self) -> list[str]:
        """The same for the command line."""
        options = [f"--server={self.url}", f"--header=authorization: Bearer {TOKEN}", "--ssl"]
        for name in ("root_certificates", "private_key", "certificate_chain"):
            options.append(f"--{name.replace('_', '-')}={self.tls()[name]}")
        return options


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a gateway and a client that it has signed, and a stranger."""
    folder = tmp_path_factory.mktemp("keys")

    def openssl(command: str) -> None:
        subprocess.run(
            [need("openssl"), *command.split()], cwd=folder, check=True, capture_output=True
        )

    new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    for who in ("authority", "stranger"):
        openssl(f"req -x509 {new} -keyout {who}.key -out {who}.pem -subj /CN={who}")
    signed = f"-x509 {new} -CA authority.pem -CAkey authority.key -addext basicConstraints=CA:FALSE"
    for who in ("gateway", "client"):
        name = f"-subj /CN={who} -addext subjectAltName=DNS:localhost"
        openssl(f"req {signed} -keyout {who}.key -out {who}.pem {name}")
    return folder


@contextmanager
def running(
    folder: Path, keys: Path, triton_url: str, rate: int = 500, resolver: str = "127.0.0.1"
) -> Iterator[Gateway]:
    port = free_port()
    triton_url = triton_url.replace("localhost", "127.0.0.1")
    settings = variables(folder, keys, port, triton_url, rate)
    configure(folder, settings | {"GATEWAY_RESOLVER": resolver})
    with subprocess.Popen(nginx(folder)) as process:
        try:
            wait_for(port, process)
            yield Gateway(f"localhost:{port}", keys)
        finally:
            process.send_signal(signal.SIGQUIT)  # it ends what is under way


def nginx(folder: Path) -> list[str | Path]:
    return [need("nginx"), "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"]


def variables(folder: Path, keys: Path, port: int, triton_url: str, rate: int) -> dict[str, object]:
    return {
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_CERTIFICATE": keys / "gateway.pem",
        "GATEWAY_KEY": keys / "gateway.key",
        "GATEWAY_CLIENT_CA": keys / "authority.pem",
        "GATEWAY_TOKEN": TOKEN,
        "GATEWAY_RATE": rate,
        "GATEWAY_TRITON": triton_url,
        "GATEWAY_RESOLVER": "127.0.0.1",
        "GATEWAY_LOG": folder / "access.log",
    }


def configure(folder: Path, variables: dict[str, object]) -> None:
    """Fill in the template as the README says."""
    names = " ".join(re.findall(r"\$\{GATEWAY_\w+\}", TEMPLATE))
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    filled = subprocess.check_output(
        [need("envsubst"), names], input=TEMPLATE, text=True, env=environment
    )
    (folder / "gateway.conf").write_text(filled)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))


def wait_for(port: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail("nginx did not start.")


@pytest.fixture(scope="module")
def gateway(
    server: TritonServer, keys: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("gateway"), keys, server.grpc_url) as gateway:
        yield gateway


def test_check_and_a_slide_pass_through(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *gateway.options()]) == 0
    assert f"The server at {gateway.url} is ready" in capsys.readouterr().out

    slide = tmp_path / "slide.tif"
    picture = generate(700, 520, nuclei=120, seed=11).image
    scale = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(slide, picture, photometric="rgb", tile=(128, 128), **scale)
    table = tmp_path / "slides.csv"
    table.write_text("slide\nslide.tif\n")
    command = ["segment", f"--slides={table}", f"--out={tmp_path / 'out'}", *gateway.options()]
    assert main(command) == 0
    assert (tmp_path / "out/slide/nuclei.parquet").is_file()


def test_32_patches_pass_through(gateway: Gateway, patches: np.ndarray) -> None:
    with gateway.client() as client:
        assert len(client.segment_tiles(patches)) == 32


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(triton.InferenceServerException) as caught:
        call()
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


@pytest.mark.parametrize(
    "token", [None, "", "Bearer ", f"bearer {TOKEN}", f"Bearer {TOKEN}0", TOKEN]
)
def test_a_wrong_token(gateway: Gateway, patches: np.ndarray, token: str | None) -> None:
    with (
        gateway.client(headers=None if token is None else {"authorization": token}) as client,
        pytest.raises(ServerError) as caught,
    ):
        client.segment_tiles(patches)  # so large that the answer comes before it is sent
    assert re.fullmatch(
        rf"The server at {gateway.url} refused request [0-9a-f]{{16}} \(UNAUTHENTICATED\): the "
        "token is missing or wrong",
        str(caught.value),
    )


@pytest.mark.parametrize("who", [None, "stranger"])
def test_a_wrong_certificate(gateway: Gateway, who: str | None) -> None:
    with triton.InferenceServerClient(gateway.url, **gateway.tls(who)) as connection:
        assert refusal(lambda: connection.is_server_live(AUTHORIZED)) == (
            "UNAUTHENTICATED",
            "the client certificate is missing or not trusted",
        )


def test_no_tls(gateway: Gateway, server: TritonServer) -> None:
    with Client(gateway.url, headers=AUTHORIZED) as plain, pytest.raises(ServerUnavailableError):
        plain.check()
    with (
        Client(server.grpc_url, **gateway.tls()) as client,
        pytest.raises(ServerUnavailableError, match=r"^The TLS handshake with the server at "),
    ):
        client.check()


CLOSED = {
    "model control": lambda connection: connection.load_model(MODEL, headers=AUTHORIZED),
    "repository": lambda connection: connection.get_model_repository_index(AUTHORIZED),
    "statistics": lambda connection: connection.get_inference_statistics(headers=AUTHORIZED),
    "logging": lambda connection: connection.get_log_settings(AUTHORIZED),
    "tracing": lambda connection: connection.get_trace_settings(headers=AUTHORIZED),
    "shared memory": lambda connection: connection.get_system_shared_memory_status(
        headers=AUTHORIZED
    ),
    "memory of GPUs": lambda connection: connection.get_cuda_shared_memory_status(
        headers=AUTHORIZED
    ),
}


@pytest.mark.parametrize("what", CLOSED)
def test_a_method_that_is_not_allowed(gateway: Gateway, what: str) -> None:
    with triton.InferenceServerClient(gateway.url, **gateway.tls()) as connection:
        assert refusal(lambda: CLOSED[what](connection)) == (
            "PERMISSION_DENIED",
            "the gateway does not allow this method",
        )


def infer(gateway: Gateway, images: np.ndarray, **options: object) -> object:
    tensor = triton.InferInput("image", images.shape, "UINT8").set_data_from_numpy(images)
    with triton.InferenceServerClient(gateway.url, **gateway.tls()) as connection:
        return connection.infer(MODEL, [tensor], headers=AUTHORIZED, **options)


def test_33_patches_are_too_large(gateway: Gateway) -> None:
    assert refusal(lambda: infer(gateway, np.zeros((33, 256, 256, 3), np.uint8))) == (
        "RESOURCE_EXHAUSTED",
        "a request may have at most 6400000 bytes, enough for 32 patches",
    )


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_request(gateway: Gateway, algorithm: str) -> None:
    """It may be a bomb."""
    blank = np.zeros((1, 256, 256, 3), np.uint8)
    assert refusal(lambda: infer(gateway, blank, compression_algorithm=algorithm)) == (
        "UNIMPLEMENTED",
        "the gateway does not accept compressed requests",
    )


def test_shared_memory_is_not_taken(gateway: Gateway, patches: np.ndarray) -> None:
    with gateway.client(transport="shm") as client:
        assert not client.shares_memory()
        with pytest.raises(ServerError, match=r"the gateway does not allow this method$"):
            client.segment_tiles(patches[:1])


def test_too_many_requests(
    server: TritonServer, keys: Path, tmp_path: Path, patches: np.ndarray
) -> None:
    """A second after the last of a burst another one passes, for which the client waits."""
    with (
        running(tmp_path, keys, server.grpc_url, rate=1) as gateway,
        triton.InferenceServerClient(gateway.url, **gateway.tls()) as connection,
    ):

        def ask() -> None:
            for _ in range(150):
                connection.is_server_live(AUTHORIZED)

        assert refusal(ask) == ("RESOURCE_EXHAUSTED", "too many requests")
        with gateway.client(retry_for=0) as client, pytest.raises(ServerUnavailableError) as caught:
            client.segment_tiles(patches[:1])
        assert str(caught.value) == (
            f"The gateway at {gateway.url} accepts no more requests from this client for now: try "
            "again later, or lower max_in_flight."
        )
        with gateway.client() as client:
            assert len(client.segment_tiles(patches[:1])) == 1


def test_a_server_that_is_gone(keys: Path, tmp_path: Path) -> None:
    with (
        running(tmp_path, keys, "127.0.0.1:1") as gateway,
        triton.InferenceServerClient(gateway.url, **gateway.tls()) as connection,
    ):
        status, _ = refusal(lambda: connection.get_server_metadata(AUTHORIZED))
    assert status == "UNAVAILABLE"


class NameServer(threading.Thread):
    """Answers any question by one address; a real one of containers knows names, too."""

    address = "127.0.0.1"

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def run(self) -> None:
        while True:
            query, client = self._socket.recvfrom(512)
            end = query.index(b"\0", 12) + 5
            is_ipv4 = query[end - 4 : end] == b"\0\x01\0\x01"
            record = b"\xc0\x0c\0\x01\0\x01" + struct.pack(">IH", 600, 4)
            answer = record + socket.inet_aton(self.address) if is_ipv4 else b""
            head = query[:2] + struct.pack(">5H", 0x8180, 1, is_ipv4, 0, 0)
            self._socket.sendto(head + query[12:end] + answer, client)


def test_a_triton_that_comes_back_at_another_address(
    server: TritonServer, keys: Path, tmp_path: Path, patches: np.ndarray
) -> None:
    """As a container does that is made anew; its name server calls answers good for ten minutes."""
    names = NameServer()
    names.address = "127.0.0.9"  # nothing is there yet
    names.start()
    port = server.grpc_url.rpartition(":")[2]
    with (
        running(tmp_path, keys, f"triton.test:{port}", resolver=names.url) as gateway,
        gateway.client(retry_for=0) as impatient,
        gateway.client(retry_for=30) as patient,
    ):
        with pytest.raises(ServerUnavailableError):
            impatient.segment_tiles(patches[:1])
        names.address = "127.0.0.1"
        assert len(patient.segment_tiles(patches[:1])) == 1


def test_the_log_says_who_asked(server: TritonServer, keys: Path, tmp_path: Path) -> None:
    with running(tmp_path, keys, server.grpc_url) as gateway, gateway.client() as client:
        client.check()
    line = (tmp_path / "access.log").read_text().splitlines()[-1]
    assert '127.0.0.1 "CN=client" /inference.GRPCInferenceService/ModelInfer 200 grpc=0 ' in line
    assert " trace=" in line
    assert TOKEN not in line


NEEDED = {*re.findall(r"\$\{(GATEWAY_\w+)\}", TEMPLATE)} - {"GATEWAY_LOG"}


@pytest.mark.parametrize("missing", sorted(NEEDED))
def test_nothing_may_be_left_out(keys: Path, tmp_path: Path, missing: str) -> None:
    complete = variables(tmp_path, keys, 8443, "127.0.0.1:1", rate=1)
    configure(tmp_path, complete | {missing: ""})
    test = [*nginx(tmp_path), "-t", "-q"]
    assert subprocess.run(test, capture_output=True, check=False).returncode == 1
