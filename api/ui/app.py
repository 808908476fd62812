"""The routes of the page: its process answers everything below `/ui`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from api.http.docs_pages import shown_prefix
from api.pages.html import page
from api.ui.forwarding import forwarded
from api.ui.own_folder import remove_left
from api.ui.process import UiProcess
from core.errors import UnknownAddress
from settings import settings

ADDRESS = "/ui"
METHODS = ["GET", "POST", "DELETE"]


@asynccontextmanager
async def _process(app: Starlette) -> AsyncGenerator[None, None]:
    await asyncio.to_thread(remove_left)
    app.state.process = UiProcess()
    try:
        yield
    finally:
        await app.state.process.close()


async def front(request: Request) -> Response:
    """Redirect to the address with a slash, to which the page's links are relative."""
    _refuse_if_off()
    return RedirectResponse(f"{shown_prefix(request)}{ADDRESS}/")


async def inside(request: Request) -> Response:
    """Let the process answer. The first request starts it; meanwhile, browsers are shown a page that says so."""
    _refuse_if_off()
    process: UiProcess = request.app.state.process
    server = _own_address(request)
    opens = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if opens and not process.is_ready and not process.start(server).done():
        return page("starting", prefix=shown_prefix(request))
    return await forwarded(request, await process.socket(server))


def _own_address(request: Request) -> str:
    """Return the address on which this connection arrived, ignoring proxies."""
    host, port = request.scope["server"]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _refuse_if_off() -> None:
    if not settings().ui:
        raise UnknownAddress()


ui_app = Starlette(
    routes=[Route(ADDRESS, front), Route(f"{ADDRESS}/{{path:path}}", inside, methods=METHODS)], lifespan=_process
)
