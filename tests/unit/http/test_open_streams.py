"""How many streams one client has open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from api.http.contract_table import ContractTable
from api.middleware.open_streams import OpenStreams
from core.caller import Caller, set_caller
from processes.http.guard import Guard
from tests.support.servers.in_process_server import served

MOST = 2


def _client(port: int) -> httpx.AsyncClient:
    # Without TLS, which would read all certificates.
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=False)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.receive()
    elif scope["path"] == "/stream":
        await StreamingResponse(_events(), media_type="text/event-stream")(scope, receive, send)
    else:
        await PlainTextResponse("fine")(scope, receive, send)


async def _events() -> AsyncIterator[str]:
    yield ": \n\n"
    await asyncio.Event().wait()


def _app() -> ASGIApp:
    bounded = OpenStreams(_answer, MOST, ContractTable())

    async def behind_a_door(scope: Scope, receive: Receive, send: Send) -> None:
        set_caller(Caller(dict(scope["headers"]).get(b"x-caller", b"").decode()))
        await bounded(scope, receive, send)

    return Guard(behind_a_door, ContractTable().refusal_for, 30)


@pytest.mark.parametrize("kind", ["stream", "socket"])
async def test_one_client_has_a_bound_and_others_are_not_affected(kind: str) -> None:
    async with served(_app()) as port, _client(port) as http:

        async def opened(stack: AsyncExitStack, caller: str) -> int:
            if kind == "stream":
                return (await stack.enter_async_context(http.stream("GET", "/stream", headers=_as(caller)))).status_code
            try:
                url = f"ws://127.0.0.1:{port}/"
                await stack.enter_async_context(connect(url, additional_headers=_as(caller)))
            except InvalidStatus as error:
                return error.response.status_code
            return 200

        async with AsyncExitStack() as stack, asyncio.timeout(10):
            statuses = [await opened(stack, "alice") for _ in range(MOST + 1)]
            assert [*statuses, await opened(stack, "bob")] == [200] * MOST + [429, 200]
            assert (await http.get("/", headers=_as("alice"))).status_code == 200
        async with AsyncExitStack() as stack, asyncio.timeout(10):
            while await opened(stack, "alice") != 200:  # noqa: ASYNC110, since nothing signals it
                await asyncio.sleep(0.01)


def _as(caller: str) -> dict[str, str]:
    return {"X-Caller": caller}
