"""The routes of the page: everything below `/ui` is its process's."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from api.http.pages import shown_prefix
from api.ui.forwarding import forwarded
from api.ui.process import UiProcess
from core.errors import UnknownAddress
from settings import settings

ADDRESS = "/ui"
METHODS = ["GET", "POST", "DELETE"]


@asynccontextmanager
async def _process(app: Starlette) -> AsyncGenerator[None, None]:
    app.state.process = UiProcess()
    try:
        yield
    finally:
        await app.state.process.close()


async def front(request: Request) -> Response:
    """The page's own links are relative to its last slash."""
    _refuse_if_off()
    return RedirectResponse(f"{shown_prefix(request)}{ADDRESS}/")


async def inside(request: Request) -> Response:
    """Let the process answer; the first request starts it."""
    _refuse_if_off()
    host, port = request.scope["server"]
    process: UiProcess = request.app.state.process
    name = f"[{host}]" if ":" in host else host
    return await forwarded(request, await process.socket(f"http://{name}:{port}"))


def _refuse_if_off() -> None:
    if not settings().ui:
        raise UnknownAddress()


ui_app = Starlette(
    routes=[Route(ADDRESS, front), Route(f"{ADDRESS}/{{path:path}}", inside, methods=METHODS)], lifespan=_process
)
