"""`POST /mcp`: the Model Context Protocol over streamable HTTP, as a contract beside the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.contract_app import contract_app
from api.http.refusals import error_answer, refusal_body
from api.openapi_description.bodies import JSON, described_body
from api.openapi_description.event_streams import EVENT_STREAM
from core.asyncio_tasks import end
from core.errors import JubakoError

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

REFUSED = -32000
"""JSON-RPC's code for errors of a server's own."""
Id = Annotated[int, Field(ge=0, le=2**53)] | Annotated[str, Field(max_length=200)]


class Message(BaseModel):
    """A JSON-RPC message, as the protocol's SDKs write it."""

    jsonrpc: Literal["2.0"]
    id: Id | None = Field(default=None, description="Identifies a request; notifications have none.")
    method: str = Field(description="Such as tools/list and tools/call.")
    params: dict[str, Any] | None = None


class McpError(BaseModel):
    code: int
    message: str
    data: dict[str, Any] | None = Field(default=None, description="`code`, `field` and `detail`, as other contracts.")


class McpRefused(BaseModel):
    """An error, as JSON-RPC says it."""

    jsonrpc: Literal["2.0"]
    id: Id | None
    error: McpError


class McpAnswer(BaseModel):
    jsonrpc: Literal["2.0"]
    id: Id | None
    result: dict[str, Any] | None = None
    error: McpError | None = None


class Endpoint:
    """Starts the SDK's server at the first request, and ends it with the application."""

    def __init__(self) -> None:
        self._starting = asyncio.Lock()
        self._app: ASGIApp | None = None
        self._running: asyncio.Task[None] | None = None

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._starting:
            if self._app is None:
                self._app = await self._start()
        await self._app(scope, receive, send)

    async def close(self) -> None:
        if self._running is not None:
            await end((self._running,))
        self._app = self._running = None

    async def _start(self) -> ASGIApp:
        manager, started = await asyncio.to_thread(_manager), asyncio.Event()
        # The manager must be entered and left in the same asyncio task, which outlives any request.
        self._running = asyncio.create_task(_run(manager, started))
        await started.wait()
        return manager.asgi_app


async def _run(manager: StreamableHTTPSessionManager, started: asyncio.Event) -> None:
    async with manager.run():
        started.set()
        await asyncio.Event().wait()


def _manager() -> StreamableHTTPSessionManager:
    from api.mcp.server import session_manager

    return session_manager()


endpoint = Endpoint()


class Exchange(Response):
    """A response that the SDK writes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await endpoint.answer(scope, receive, send)


@asynccontextmanager
async def _open(_: FastAPI) -> AsyncIterator[None]:
    yield
    await endpoint.close()


router = APIRouter()


@router.post(
    "/mcp",
    response_model=McpAnswer,
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
    openapi_extra=described_body(Message, JSON, name="Mcp", jsonrpc="2.0", id=1, method="tools/list"),
)
async def exchange() -> Response:
    """Answer one message of the Model Context Protocol; a call of a tool streams its progress."""
    return Exchange()


def mcp_refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error before any tool is reached, in JSON-RPC's shape."""
    body = {"code": REFUSED, "message": error.message, "data": refusal_body(error)}
    return error_answer(error, {"jsonrpc": "2.0", "id": None, "error": body})


mcp_app = contract_app("Model Context Protocol", "mcp", router, mcp_refusal, McpRefused, _open)
