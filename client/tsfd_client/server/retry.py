"""Which failures of the server are worth another try, and what the others mean."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import tritonclient.grpc as triton
from opentelemetry import trace

from tsfd_client.contract import MODEL
from tsfd_client.errors import ServerError, ServerUnavailableError, TsfdError

_FULL_QUEUE = "maximum queue size"
_DEAD_BACKEND = "is not healthy"  # said of a Python backend's process, for ever
_FORGOTTEN = "Unable to find shared memory region"  # the server has been restarted
RESTRICTED = "This protocol is restricted"
"""What a server says that its operator has closed to whoever sends no certain header."""
_TOO_MANY = "too many requests"  # said by a gateway
_NO_TLS = "handshake failed"
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 2.0

_Answer = TypeVar("_Answer")


class Tries:
    """The tries of one request.

    Parameters
    ----------
    url
        Where the server is.
    patience
        Seconds to go on after the first try.

    Attributes
    ----------
    request_id
        What the server calls the request in its log and its spans.
    """

    def __init__(self, url: str, patience: float) -> None:
        self.request_id = secrets.token_hex(8)
        self._url = url
        self._until = time.monotonic() + patience
        self._failed = 0

    def run(self, ask: Callable[[], _Answer]) -> _Answer:
        """Ask until there is an answer; raises the clear error where there will be none."""
        while True:
            try:
                return ask()
            except triton.InferenceServerException as error:
                pause = self._pause(error)
            time.sleep(pause)

    async def run_async(
        self, ask: Callable[[], Awaitable[_Answer]], refused: Callable[[], None] | None = None
    ) -> _Answer:
        """The same for asyncio; `refused` is called whenever another try follows."""
        while True:
            try:
                return await ask()
            except triton.InferenceServerException as error:
                pause = self._pause(error)
            if refused:
                refused()
            await asyncio.sleep(pause)

    def _pause(self, error: triton.InferenceServerException) -> float:
        """Seconds to wait before another try; raises the clear error where none is worth it."""
        message = str(error.message())
        worth_it = (
            (error.status() == "StatusCode.UNAVAILABLE" and RESTRICTED not in message)
            or _TOO_MANY in message
            or _FORGOTTEN in message
            or _DEAD_BACKEND in message  # whoever watches the server may restart it
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
    """The exception of the Triton client as one of this package's, with a sentence to act on."""
    status = str(error.status() or "").removeprefix("StatusCode.")
    message = str(error.message()).splitlines()[0] if error.message() else "no reason given"
    if RESTRICTED in message:
        return ServerError(
            f"The server at {url} answers only requests with a certain header: give the one that "
            f"its operator has set with --header (in Python headers=). Its words: {message}"
        )
    if _TOO_MANY in message:
        return ServerUnavailableError(
            f"The gateway at {url} takes no more requests from this client for now: try again "
            "later, or lower max_in_flight."
        )
    if status == "UNAVAILABLE" and _NO_TLS in message:
        return ServerUnavailableError(
            f"No TLS with the server at {url}: it speaks none, or root_certificates did not sign "
            "its certificate."
        )
    if status == "UNAVAILABLE" and _FULL_QUEUE in message:
        return ServerUnavailableError(
            f"The server at {url} is overloaded (its queue stayed full): try again later, or lower "
            "max_in_flight."
        )
    if status == "UNAVAILABLE" and "timeout" not in message.lower():
        return ServerUnavailableError(
            f"No Triton server answers at {url}: check the address, or start one with `make serve`."
        )
    if status in ("DEADLINE_EXCEEDED", "UNAVAILABLE"):
        return ServerUnavailableError(
            f"The server at {url} did not answer in time: it is overloaded, or the timeout is too "
            "short."
        )
    if _DEAD_BACKEND in message:
        return ServerUnavailableError(
            f"The server at {url} has lost a backend process and cannot answer any more: restart "
            f"it ({message})."
        )
    if status == "NOT_FOUND" or "unknown model" in message:
        return ServerError(f"The server at {url} does not serve {MODEL}: {message}")
    named = f"request {request_id}" if request_id else "the request"
    return ServerError(f"The server at {url} refused {named} ({status}): {message}")
