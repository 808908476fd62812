"""`GET /`: the server's status for programs, BentoML's page for browsers."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.operations.status import server_status


class RootStatus:
    """ASGI middleware: answers `GET /` with the server's status, unless the client asks for HTML."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_root(scope) and not _wants_html(scope):
            await JSONResponse(await server_status())(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_root(scope: Scope) -> bool:
    return scope["path"] == "/" and scope["method"] in ("GET", "HEAD")


def _wants_html(scope: Scope) -> bool:
    return "text/html" in Headers(scope=scope).get("accept", "")
