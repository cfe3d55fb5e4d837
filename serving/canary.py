"""Send a canary: a test patch that shows whether the server still answers.

Triton reports itself as ready even after a backend process has died; only a complete request tells.
Uses HTTP and the standard library alone, to run in any container.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.parse
from dataclasses import dataclass
from typing import Final

MODEL: Final = "nuclei_segmentation"
_SIDE: Final = 256
_PATCH: Final = b"\xff" * (_SIDE * _SIDE * 3)
_DEAD: Final = "is not healthy"  # Triton's message after a Python backend's process has died
_DONE: Final = re.compile(rf'nv_inference_request_success{{model="{MODEL}",version="\d+"}} (\d+)')


@dataclass(frozen=True)
class Answer:
    """Outcome of a canary.

    Attributes
    ----------
    failure
        Why it was not answered; None if it was.
    dead
        Whether the failure is permanent.
    seconds
        Time it took.
    """

    failure: str | None
    dead: bool
    seconds: float


def send(url: str, timeout: float) -> Answer:
    """Send a blank patch through the ensemble.

    Parameters
    ----------
    url
        Address of Triton's HTTP endpoint.
    timeout
        Seconds to wait for the answer.
    """
    image = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [1, _SIDE, _SIDE, 3],
        "parameters": {"binary_data_size": len(_PATCH)},
    }
    # The last step makes this output, so all models must have worked.
    request = {"inputs": [image], "outputs": [{"name": "release"}]}
    head = json.dumps(request).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    began = time.monotonic()
    try:
        status, body = _ask(url, f"/v2/models/{MODEL}/infer", timeout, head + _PATCH, headers)
    except (OSError, http.client.HTTPException) as error:
        failure = f"no answer to a patch within {timeout:g} s ({error or type(error).__name__})"
    else:
        failure = None if status == 200 else _reason(body)
    dead = failure is not None and _DEAD in failure
    return Answer(failure, dead, time.monotonic() - began)


def completed(metrics_url: str, timeout: float) -> int:
    """Count the ensemble's requests answered since the server's start; 0 if it does not say."""
    url, _, path = metrics_url.rpartition("/")
    try:
        _, body = _ask(url, f"/{path}", timeout)
    except (OSError, http.client.HTTPException):
        return 0
    found = _DONE.search(body.decode(errors="replace"))
    return int(found[1]) if found else 0


def _ask(
    url: str, path: str, timeout: float, body: bytes | None = None, headers: dict | None = None
) -> tuple[int, bytes]:
    """Send a request, POST if there is a body; return status and body of the answer."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=timeout)
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {"Connection": "close", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or "no reason given"
