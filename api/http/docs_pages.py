"""`/docs`, `/redoc` and `/openapi.json` of one application; they load nothing from other servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from api.pages.assets import ADDRESS, Assets
from api.pages.documentation import redoc_page, swagger_page

PREFIX = "jubako.prefix"
"""The scope's key for the path under which a proxy shows the server (`api.middleware.paths`)."""
DESCRIPTION = "/openapi.json"
PAGES = ("", "/", "/health", "/docs", "/docs/oauth2-redirect", "/redoc", DESCRIPTION)
"""Pages of every contract, at the root and under its prefix, that anyone may read."""
ASSETS = Mount(ADDRESS, Assets())
"""Assets that all pages share, at the server's root."""


def page_routes(title: str, describe: Callable[[], dict[str, Any]], *more: str) -> list[Route]:
    """Return the routes of an application's pages; `describe` builds its description, also served at `more`."""

    async def description(request: Request) -> JSONResponse:
        # In a thread: the first time, this takes a while.
        described = await asyncio.to_thread(describe)
        return JSONResponse({**described, "servers": [{"url": _root(request) or "/"}]})

    async def swagger(request: Request) -> Response:
        return swagger_page(title, shown_prefix(request), _root(request))

    async def redoc(request: Request) -> Response:
        return redoc_page(title, shown_prefix(request), _root(request))

    described = [Route(path, description) for path in (DESCRIPTION, *more)]
    return [*described, Route("/docs", swagger), Route("/redoc", redoc)]


def shown_prefix(request: Request) -> str:
    """Return the path under which a proxy shows the server; usually empty."""
    prefix: str = request.scope.get(PREFIX, "")
    return prefix


def _root(request: Request) -> str:
    """Return the path of the application, which may be mounted under a prefix of its own."""
    root: str = request.scope["root_path"]
    return root
