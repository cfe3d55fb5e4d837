"""Which failures of the server are worth another try, and what the others mean."""

from __future__ import annotations

import random

import tritonclient.grpc as triton

from tsfd_client.contract import MODEL
from tsfd_client.errors import ServerError, ServerUnavailableError, TsfdError

_FULL_QUEUE = "maximum queue size"
_NO_MEMORY = "Unable to open shared memory region"
_FORGOTTEN = "Unable to find shared memory region"  # the server has been restarted
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 2.0


def wait_before_retry(
    error: triton.InferenceServerException,
    *,
    url: str,
    attempt: int,
    waited: float,
    patience: float,
) -> float:
    """Seconds to wait before another try; raises the clear error where none is worth it.

    Parameters
    ----------
    attempt
        Tries that failed before this one.
    waited, patience
        Seconds since the first try, and how long to go on.
    """
    worth_it = error.status() == "StatusCode.UNAVAILABLE" or _FORGOTTEN in str(error.message())
    if not worth_it or waited >= patience:
        raise explain(error, url) from error
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)


def explain(error: triton.InferenceServerException, url: str) -> TsfdError:
    """The exception of the Triton client as one of this package's, with a sentence to act on."""
    status = str(error.status() or "").removeprefix("StatusCode.")
    message = str(error.message()).splitlines()[0] if error.message() else "no reason given"
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
    if _NO_MEMORY in message:
        return ServerError(
            f"The server at {url} cannot open this machine's shared memory: transport='shm' is for "
            "a server on the same machine; use transport='grpc'."
        )
    if status == "NOT_FOUND" or "unknown model" in message:
        return ServerError(f"The server at {url} does not serve {MODEL}: {message}")
    return ServerError(f"The server at {url} refused the request ({status}): {message}")
