"""Base of the synchronous and the asynchronous client: address, options, arguments of the calls.

Each client makes the calls itself, because one of them awaits.
"""

from __future__ import annotations

import math
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, get_args

import numpy as np
from opentelemetry import propagate, trace

from tsfd_client.contract import MAX_BATCH, MODEL, VERSION
from tsfd_client.errors import TsfdError
from tsfd_client.release import Release
from tsfd_client.server.address import host_of, proxy_of
from tsfd_client.server.protocol import Carrier
from tsfd_client.server.retry import Tries
from tsfd_client.settings import Settings, check_settings

_CHANNEL = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Detect within seconds that a server's machine is gone, not only its process.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
_QUICK = 5.0  # seconds for an answer that needs no computing

TRACER: Final = trace.get_tracer("tsfd_client")
"""OpenTelemetry tracer; records nothing unless the program sets up a provider."""

Transport = Literal["grpc", "shm"]


def check_arguments(image: np.ndarray, settings: Settings | None) -> None:
    """Raise TypeError unless pixels and thresholds have the types they should."""
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"Pixels must be an array, uint8 [H, W, 3], not {type(image).__name__}: read files "
            "with `read_image`."
        )
    check_settings(settings)


@dataclass(kw_only=True, eq=False, repr=False)
class Connection:
    """A Triton server, and how to reach it over gRPC, for the process that opened it.

    Parameters
    ----------
    url
        ``host:port`` of the server's gRPC endpoint.
    timeout
        Seconds a request may take.
    retry_for
        Seconds to keep retrying if the server is unavailable or its queue is full. A supervised
        server that has lost a process is back after 6 to 14 seconds.
    max_in_flight
        Most requests in flight at a time.
    batch_size
        Tiles per request, 1 to 32.
    headers
        Sent with every request, for a proxy in front of the server.
    ssl, root_certificates, private_key, certificate_chain
        Whether to use TLS, and PEM files for it; key and chain are for mutual TLS.
    transport
        How tiles and instance maps travel: ``"grpc"``, or ``"shm"`` for shared memory with a server
        on this machine. Each request in flight takes a region of 0.33 MB per tile in ``/dev/shm``;
        `close` removes them.

    Raises
    ------
    TsfdError
        If `url` is not an address of a gRPC endpoint, or a PEM file cannot be used.
    ValueError
        If there is no such transport, or a number is out of range.
    """

    url: str = field(default="localhost:8001", kw_only=False)
    timeout: float = 60.0
    retry_for: float = 30.0
    max_in_flight: int = 4
    batch_size: int = 4
    headers: dict[str, str] | None = None
    ssl: bool = False
    root_certificates: str | None = None
    private_key: str | None = None
    certificate_chain: str | None = None
    transport: Transport = "grpc"

    # Cached once the server has been asked.
    _release: Release | None = field(default=None, init=False)
    _process: int = field(default_factory=os.getpid, init=False)

    def __post_init__(self) -> None:
        host_of(self.url)
        known = get_args(Transport)
        if not (isinstance(self.timeout, Real) and 0 < self.timeout < math.inf):
            raise ValueError(f"timeout must be a number of seconds above 0, not {self.timeout!r}.")
        if not (isinstance(self.retry_for, Real) and self.retry_for >= 0):
            raise ValueError(
                f"retry_for must be a number of seconds of at least 0, not {self.retry_for!r}."
            )
        if not (isinstance(self.batch_size, Integral) and 1 <= self.batch_size <= MAX_BATCH):
            raise ValueError(f"batch_size must be 1 to {MAX_BATCH}, not {self.batch_size!r}.")
        if not (isinstance(self.max_in_flight, Integral) and self.max_in_flight >= 1):
            raise ValueError(f"max_in_flight must be 1 or more, not {self.max_in_flight!r}.")
        self._check_certificates()
        if self.transport not in known:
            raise ValueError(f"transport must be {' or '.join(known)}, not {self.transport!r}.")

    def _check_certificates(self) -> None:
        """Raise TsfdError unless the PEM files are there, and used."""
        files = (self.root_certificates, self.private_key, self.certificate_chain)
        for file in filter(None, files):
            if not self.ssl:
                raise TsfdError(
                    f"{file} is for TLS, which is off: give --ssl (in Python ssl=True)."
                )
            try:
                is_pem = b"-----BEGIN" in Path(file).read_bytes()
            except OSError as error:
                raise TsfdError(f"{file} cannot be read: {error.strerror}.") from error
            if not is_pem:
                raise TsfdError(f"{file} is not a PEM file.")

    def _channel(self) -> dict[str, Any]:
        """Arguments of Triton's client, synchronous or asyncio."""
        return {
            "url": self.url,
            "ssl": self.ssl,
            "root_certificates": self.root_certificates,
            "private_key": self.private_key,
            "certificate_chain": self.certificate_chain,
            # By default gRPC uses a proxy even for this machine.
            "channel_args": [*_CHANNEL, ("grpc.enable_http_proxy", int(bool(proxy_of(self.url))))],
        }

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"A {type(self).__name__} cannot be sent to another process: open one there."
        )

    @property
    def _is_ours(self) -> bool:
        """Whether this process has opened it, and has not been forked from the one that did."""
        return self._process == os.getpid()

    def _check_process(self) -> None:
        # gRPC might wait for ever, and shared memory would be written to by both.
        if not self._is_ours:
            raise TsfdError(
                f"This {type(self).__name__} was opened in another process: open one after the "
                "fork, in each process."
            )

    def _span(self, tiles: np.ndarray, tries: Tries) -> AbstractContextManager[trace.Span]:
        """Open the span of one request, which includes all its tries."""
        self._check_process()
        return TRACER.start_as_current_span(
            "segment_tiles",
            kind=trace.SpanKind.CLIENT,
            attributes={
                "server.address": self.url,
                "tsfd.request_id": tries.request_id,
                "tsfd.tiles": len(tiles),
            },
        )

    def _question(self) -> dict[str, Any]:
        """Arguments of a call about the server's state."""
        self._check_process()
        return {"headers": self.headers, "client_timeout": _QUICK}

    def _describing(self) -> dict[str, Any]:
        """Arguments of the call for the model's configuration."""
        return {"model_name": MODEL, "model_version": VERSION, **self._question()}

    def _inference(
        self, carrier: Carrier, tiles: np.ndarray, settings: Settings | None, request_id: str
    ) -> dict[str, Any]:
        """Arguments of a segmentation request."""
        asked = {
            "model_name": MODEL,
            "model_version": VERSION,
            "inputs": carrier.inputs(tiles),
            "outputs": carrier.outputs(len(tiles)),
            "parameters": settings.parameters() if settings else None,
        }
        return self._request(asked, request_id)

    def _request(self, asked: dict[str, Any], request_id: str) -> dict[str, Any]:
        """Arguments of any request; the current span is passed on in the headers."""
        headers = dict(self.headers or {})
        propagate.inject(headers)
        return {
            **asked,
            "request_id": request_id,
            "headers": headers,
            "client_timeout": self.timeout,
        }
