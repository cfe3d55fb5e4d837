"""Retry requests that failed for a passing reason, and explain the other failures."""

from __future__ import annotations

import asyncio
import random
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import tritonclient.grpc as triton
from opentelemetry import trace

from tsfd_client.contract import MODEL
from tsfd_client.errors import ServerError, ServerUnavailableError, TsfdError
from tsfd_client.server.address import host_of, proxy_of

_FULL_QUEUE = "maximum queue size"
_DEAD_BACKEND = "is not healthy"  # a Python backend's process has died; does not pass by itself
_FORGOTTEN = "Unable to find shared memory region"  # the server has been restarted
RESTRICTED = "This protocol is restricted"
"""Part of Triton's message if its operator requires a header that the request lacks."""
_TOO_MANY = "too many requests"  # from a gateway
_NO_TLS = "handshake failed"
# There is no such proxy, or it does not let this client through: waiting will not help.
_NO_TUNNEL = re.compile("Failed to connect|errors resolving|HTTP proxy returned response code 4")
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 2.0

_Answer = TypeVar("_Answer")


class Tries:
    """The tries of one request.

    Parameters
    ----------
    url
        Address of the server.
    patience
        Seconds to keep retrying after the first try.

    Attributes
    ----------
    request_id
        Id of the request in the server's log and spans.
    """

    def __init__(self, url: str, patience: float) -> None:
        self.request_id = secrets.token_hex(8)
        self._url = url
        self._until = time.monotonic() + patience
        self._failed = 0

    def run(self, ask: Callable[[], _Answer]) -> _Answer:
        """Call `ask` until it succeeds; raise an explained error if retrying is pointless."""
        while True:
            try:
                return ask()
            except triton.InferenceServerException as error:
                pause = self._pause(error)
            time.sleep(pause)

    async def run_async(
        self, ask: Callable[[], Awaitable[_Answer]], refused: Callable[[], None] | None = None
    ) -> _Answer:
        """As `run`, for asyncio; `refused` is called before every retry."""
        while True:
            try:
                return await ask()
            except triton.InferenceServerException as error:
                pause = self._pause(error)
            if refused:
                refused()
            await asyncio.sleep(pause)

    def _pause(self, error: triton.InferenceServerException) -> float:
        """Return the seconds to wait before another try; raise if retrying is pointless."""
        message = str(error.message())
        worth_it = (
            (
                error.status() == "StatusCode.UNAVAILABLE"
                and RESTRICTED not in message
                and not (proxy_of(self._url) and _NO_TUNNEL.search(message))
            )
            or _TOO_MANY in message
            or _FORGOTTEN in message
            or _DEAD_BACKEND in message  # a supervisor may restart the server
        )
        if not worth_it or time.monotonic() >= self._until:
            raise explain(error, self._url, self.request_id) from error
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**self._failed) * random.uniform(0.5, 1.0)
        self._failed += 1
        trace.get_current_span().add_event("another try", {"after": message})
        return wait


def explain(
    error: triton.InferenceServerException, url: str, request_id: str | None = None
) -> TsfdError:
    """Turn an exception of Triton's client into one of this package, with advice what to do."""
    status = str(error.status() or "").removeprefix("StatusCode.")
    message = str(error.message()).splitlines()[0] if error.message() else "no reason given"
    if RESTRICTED in message:
        return ServerError(
            f"The server at {url} answers only requests with a certain header: pass the one set by "
            f"its operator with --header (in Python, headers=). It says: {message}"
        )
    if _TOO_MANY in message:
        return ServerUnavailableError(
            f"The gateway at {url} accepts no more requests from this client for now: try again "
            "later, or lower max_in_flight."
        )
    if status == "UNAVAILABLE" and _NO_TLS in message:
        return ServerUnavailableError(
            f"The TLS handshake with the server at {url} failed: either it does not use TLS, or "
            "its certificate is not signed by root_certificates."
        )
    if status == "UNAVAILABLE" and _FULL_QUEUE in message:
        return ServerUnavailableError(
            f"The server at {url} is overloaded (its queue stayed full): try again later, or lower "
            "max_in_flight."
        )
    proxy = proxy_of(url)
    through = f" through the proxy {proxy.address}, which {proxy.variable} names" if proxy else ""
    if status == "UNAVAILABLE" and "timeout" not in message.lower():
        remedy = "check the address, or start one with `make serve`"
        if proxy:
            remedy = f"add {host_of(url)} to no_proxy if it can be reached directly"
        return ServerUnavailableError(f"No Triton server answers at {url}{through}: {remedy}.")
    if status in ("DEADLINE_EXCEEDED", "UNAVAILABLE"):
        remedy = f", or {host_of(url)} belongs in no_proxy" if proxy else ""
        return ServerUnavailableError(
            f"The server at {url} did not answer in time{through}: it is overloaded, or the "
            f"timeout is too short{remedy}."
        )
    if _DEAD_BACKEND in message:
        return ServerUnavailableError(
            f"The server at {url} has lost a backend process and can no longer answer: restart it "
            f"({message})."
        )
    if status == "NOT_FOUND" or "unknown model" in message:
        return ServerError(f"The server at {url} does not serve {MODEL}: {message}")
    named = f"request {request_id}" if request_id else "the request"
    return ServerError(f"The server at {url} refused {named} ({status}): {message}")
