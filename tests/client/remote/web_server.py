"""A web server with one file, which does as badly as it is told."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Web:
    """What the server has and how it behaves; may be changed while it runs."""

    content: bytes
    etag: str | None = '"first"'
    ranges: bool = True
    says_size: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers break off."""
    becomes: tuple[bytes, str] | None = None
    """Content and ETag after the next answer."""
    status: int = 200
    user: str | None = None
    """``user:password`` that is asked for."""
    query: str | None = None
    """Signature that is asked for."""
    seconds: float = 0.0
    """Of each answer."""
    asked: list[str] = field(default_factory=list)
    """The ranges of all answers with content, ``""`` for the whole."""
    sent: int = 0
    port: int = 0
    scheme: str = "http"

    def url(self, name: str = "slide.tif", *, user: str = "", query: str = "") -> str:
        at = f"{user}@" if user else ""
        return f"{self.scheme}://{at}127.0.0.1:{self.port}/far/{name}{'?' * bool(query)}{query}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def do_HEAD(self) -> None:
        self._answer(send=False)

    def do_GET(self) -> None:
        self._answer(send=True)

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, *, send: bool) -> None:
        web = self.web
        status = self._refused() or web.status
        if status != 200:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content, first = web.content, 0
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and web.ranges:
            first, last = int(asked[1]), min(int(asked[2]), len(content) - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            content = content[first : last + 1]
        else:
            self.send_response(200)
        if web.etag:
            self.send_header("ETag", web.etag)
        if web.says_size:
            self.send_header("Content-Length", str(len(content)))
        else:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if send:
            web.asked.append(asked[0].removeprefix("bytes=") if asked and web.ranges else "")
            time.sleep(web.seconds)
            self._send(content)
            if web.becomes:
                (web.content, web.etag), web.becomes = web.becomes, None

    def _send(self, content: bytes) -> None:
        most = self.web.cuts.pop(0) if self.web.cuts else len(content)
        for start in range(0, min(most, len(content)), 1 << 20):
            part = content[start : min(start + (1 << 20), most)]
            self.web.sent += len(part)
            try:
                if self.web.says_size:
                    self.wfile.write(part)
                else:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            except OSError:  # the other side has gone
                self.close_connection = True
                return
        if most < len(content):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif not self.web.says_size:
            self.wfile.write(b"0\r\n\r\n")

    def _refused(self) -> int | None:
        known = base64.b64encode((self.web.user or "").encode()).decode()
        if self.web.user and self.headers.get("Authorization") != f"Basic {known}":
            return 401
        is_signed = self.web.query in (None, urlsplit(self.path).query)
        return None if is_signed else 403


@contextmanager
def serving(content: bytes, *, certificate: Path | None = None, **how: object) -> Iterator[Web]:
    """Serve a file, with TLS if there is a certificate (with its key)."""
    web = Web(content, **how)
    handler = type("Handler", (_Handler,), {"web": web})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        web.scheme = "https"
    server.handle_error = lambda *ignored: None
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
