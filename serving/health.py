"""Serve the state of a supervised server to load balancers, probes and Prometheus.

GET /health    200 or 503, and JSON: {"state": "serving", "reason": null, "restarts": 0, ...}
GET /metrics   tsfd_up, tsfd_restarts_total, tsfd_canary_seconds
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol, Self

from serving.server import PortInUseError


@dataclass(frozen=True)
class Health:
    """State of a supervised server.

    Attributes
    ----------
    state
        ``"starting"``, ``"serving"``, ``"restarting"`` or ``"draining"``.
    reason
        Why it does not serve, or did not answer the last canary; None if all is well.
    restarts
        Number of restarts since the supervisor started.
    canary_seconds
        Time that the last answered canary took.
    """

    state: str
    reason: str | None = None
    restarts: int = 0
    canary_seconds: float = 0.0

    @property
    def is_up(self) -> bool:
        """Whether requests should be sent."""
        return self.state == "serving" and self.reason is None

    def metrics(self) -> str:
        """Return the metrics in Prometheus text format."""
        return (
            "# HELP tsfd_up Whether the server answers patches.\n"
            "# TYPE tsfd_up gauge\n"
            f"tsfd_up {int(self.is_up)}\n"
            "# HELP tsfd_restarts_total Restarts of the server by its supervisor.\n"
            "# TYPE tsfd_restarts_total counter\n"
            f"tsfd_restarts_total {self.restarts}\n"
            "# HELP tsfd_canary_seconds Time that the last answered canary patch took.\n"
            "# TYPE tsfd_canary_seconds gauge\n"
            f"tsfd_canary_seconds {self.canary_seconds:.4f}\n"
        )


class Watched(Protocol):
    """An object with a health."""

    health: Health


class HealthEndpoint:
    """Serves the health from a thread, as a context manager.

    Parameters
    ----------
    host, port
        Address; port 0 takes a free one.
    watched
        Object whose health is served.

    Raises
    ------
    PortInUseError
        If the address is not available.
    """

    def __init__(self, host: str, port: int, watched: Watched) -> None:
        class Handler(BaseHTTPRequestHandler):
            wbufsize = -1  # send all at once: load balancers hang up after reading the status

            def do_GET(self) -> None:
                now = watched.health
                if self.path == "/health":
                    body, kind = json.dumps(asdict(now)) + "\n", "application/json"
                elif self.path == "/metrics":
                    body, kind = now.metrics(), "text/plain; version=0.0.4"
                else:
                    self.send_error(404)
                    return
                self.send_response(200 if now.is_up or self.path == "/metrics" else 503)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise PortInUseError(
                f"Cannot listen on {host}:{port} (health): {error.strerror}; choose another "
                "address or port."
            ) from error
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
