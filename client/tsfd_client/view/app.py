"""The page as a web application for this machine: ``tsfd view``.

Only those who know the token in the printed address can see the results: the machine's other users
can reach its ports, too, and so can pages of other sites in the user's own browser.
"""

from __future__ import annotations

import secrets
from http.cookies import Morsel, SimpleCookie
from typing import Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tsfd_client.contract import USE
from tsfd_client.errors import TsfdError
from tsfd_client.files import MARKS, REGIONS
from tsfd_client.names import shown
from tsfd_client.view import marks, regions
from tsfd_client.view.differing import differing, other_of
from tsfd_client.view.results import FILES, Result, Results
from tsfd_client.view.site import PAGE

_COOKIE: Final = "tsfd"
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; worker-src 'self' blob:; style-src 'self' "
        "'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


def application(results: Results, token: str, hosts: set[str]) -> ASGIApp:
    """Make the web application that shows some results.

    Parameters
    ----------
    results
        What is shown.
    token
        Secret that a browser must present once, as ``/?token=...``.
    hosts
        Accepted values of the Host header.
    """

    def chosen(request: Request) -> Result:
        result = results.get(request.path_params["name"])
        if result is None:
            raise HTTPException(404, "There is no such result.")
        return result

    def page(request: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    def listed(request: Request) -> Response:
        entries = [result.entry() for result in results.find()]
        return JSONResponse({"results": entries, "use": USE, "changes": True})

    def view(request: Request) -> Response:
        result = chosen(request)
        other = other_of(result, results)
        return JSONResponse(result.view() | {"other": other and other.name})

    def differences(request: Request) -> Response:
        result = chosen(request)
        other = other_of(result, results)
        if other is None:
            raise HTTPException(404, "There is no other result of this image.")
        return Response(differing(result, other), media_type="application/json", headers=_FRESH)

    def thumbnail(request: Request) -> Response:
        return Response(chosen(request).thumbnail(), media_type="image/jpeg")

    def tile(request: Request) -> Response:
        place = (request.path_params[name] for name in ("z", "x", "y"))
        content = chosen(request).tile(*place)
        if content is None:
            return Response(status_code=204)
        return Response(content, media_type="image/jpeg", headers=_CACHED)

    def made(request: Request) -> Response:
        name = request.path_params["file"]
        if name not in FILES:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(chosen(request).file(name), media_type="application/octet-stream")

    def drawn(request: Request) -> Response:
        content = regions.read(chosen(request).folder)
        headers = _FRESH | {"etag": regions.version(content)}
        return Response(content, media_type="application/geo+json", headers=headers)

    async def draw(request: Request) -> Response:
        content = await _body(request, regions.MOST)
        known = request.headers.get("if-match")
        version = await run_in_threadpool(regions.write, chosen(request).folder, content, known)
        if version is None:
            raise HTTPException(412, "The regions have been changed elsewhere.")
        return Response(status_code=204, headers={"etag": version})

    def marked(request: Request) -> Response:
        result = chosen(request)
        headers = {"etag": marks.version(result.folder), **_FRESH}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        content = marks.read(result.folder, result.image_name)
        return Response(content, media_type="application/geo+json", headers=headers)

    async def mark(request: Request) -> Response:
        result, content = chosen(request), await _body(request, marks.MOST)
        await run_in_threadpool(marks.change, result.folder, result.image_name, content)
        return Response(status_code=204)

    app = Starlette(
        routes=[
            Route("/", page),
            Mount("/page", StaticFiles(directory=PAGE)),
            Route("/data/results.json", listed),
            Route("/data/{name}/view.json", view),
            Route("/data/{name}/thumbnail.jpg", thumbnail),
            Route("/data/{name}/tiles/{z:int}/{x:int}/{y:int}.jpg", tile),
            Route(f"/data/{{name}}/{REGIONS}", drawn),
            Route(f"/data/{{name}}/{REGIONS}", draw, methods=["PUT"]),
            Route(f"/data/{{name}}/{MARKS}", marked),
            Route(f"/data/{{name}}/{MARKS}", mark, methods=["POST"]),
            Route("/data/{name}/differing.json", differences),
            Route("/data/{name}/{file}", made),
        ],
        exception_handlers={TsfdError: _explain, HTTPException: _refuse},
    )
    return _Guard(app, token, hosts)


_CACHED: Final = {"cache-control": "private, max-age=3600"}
_FRESH: Final = {"cache-control": "no-store"}


async def _body(request: Request, most: int) -> bytes:
    """What a request contains, cut off somewhere beyond so many bytes."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            break
    return bytes(content)


def _explain(request: Request, error: Exception) -> Response:
    return PlainTextResponse(shown(str(error)), 409)


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(error.detail, error.status_code)


class _Guard:
    """Admits requests to this machine that carry the token; adds the security headers."""

    def __init__(self, app: ASGIApp, token: str, hosts: set[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        request = Request(scope)
        answer = self._refusal(request) or self._welcome(request)
        await (answer or self._app)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        if request.headers.get("host") not in self._hosts:
            return PlainTextResponse(
                "This page can only be opened on the machine that serves it.", 421
            )
        shown = [
            *parse_qs(request.url.query).get("token", []),
            *(morsel.value for morsel in self._cookies(request)),
        ]
        if any(secrets.compare_digest(self._token.encode(), text.encode()) for text in shown):
            return None
        return PlainTextResponse(
            "Open the address that `tsfd view` printed; pages that are open already go on then.",
            403,
        )

    def _welcome(self, request: Request) -> Response | None:
        """Move the token into a cookie, so that it is not in an address that users share."""
        if "token" not in parse_qs(request.url.query):
            return None
        answer = RedirectResponse(request.url.path, 303)
        answer.set_cookie(self._name(request), self._token, httponly=True, samesite="strict")
        return answer

    def _cookies(self, request: Request) -> list[Morsel[str]]:
        cookies = SimpleCookie(request.headers.get("cookie", ""))
        return [cookies[name] for name in [self._name(request)] if name in cookies]

    @staticmethod
    def _name(request: Request) -> str:
        """Name of the cookie; includes the port, because cookies are shared by all ports."""
        return f"{_COOKIE}-{request.url.port or 80}"
