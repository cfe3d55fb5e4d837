"""A patch that is sent to see whether the server still answers.

Triton says that it is ready while a backend process is dead, and for ever: only a request that goes
all the way tells. Over HTTP and with the standard library alone, to run in any container.
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
_DEAD: Final = "is not healthy"  # said of a Python backend's process
_DONE: Final = re.compile(rf'nv_inference_request_success{{model="{MODEL}",version="\d+"}} (\d+)')


@dataclass(frozen=True)
class Answer:
    """What became of a canary.

    Attributes
    ----------
    failure
        Why it was not answered; None if it was.
    dead
        Whether the failure will not pass.
    seconds
        It took.
    """

    failure: str | None
    dead: bool
    seconds: float


def send(url: str, timeout: float) -> Answer:
    """Send a blank patch through the ensemble.

    Parameters
    ----------
    url
        Of Triton's HTTP endpoint.
    timeout
        Seconds to wait for the answer.
    """
    image = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [1, _SIDE, _SIDE, 3],
        "parameters": {"binary_data_size": len(_PATCH)},
    }
    # The last step makes this output: all models have worked then.
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
    """Requests to the ensemble that the server has answered since its start; 0 if it is mute."""
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
    """Status and body of the answer; POST if there is something to send."""
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
