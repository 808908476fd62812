"""What an orderly end waits for."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from core.errors import JubakoError
from processes.drain import Drain
from processes.drain_middleware import RESTARTING, Draining
from tests.support.servers.in_process_server import served

SOON_S = 5.0


def refusal_for(path: str, error: JubakoError) -> ASGIApp:
    return JSONResponse({"code": error.code}, error.status)


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what is asked after the client says so once more."""
    socket = WebSocket(scope, receive, send)
    await socket.accept()
    asked = await socket.receive_text()
    await socket.receive_text()
    await socket.send_text(asked)
    await socket.close()


async def _in_hand(drain: Drain, count: int) -> None:
    async with asyncio.timeout(SOON_S):
        while drain.in_hand.count != count:  # noqa: ASYNC110, since nothing signals it
            await asyncio.sleep(0.01)


def _connected(port: int) -> connect:
    return connect(f"ws://127.0.0.1:{port}/")


async def _closed(socket: ClientConnection) -> int | None:
    try:
        await asyncio.wait_for(socket.recv(), SOON_S)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
    return 0


async def test_a_websocket_is_in_hand_once_it_has_asked() -> None:
    drain = Drain(60)
    app = Draining(_echo, drain, refusal_for, lambda scope: True)
    async with served(app) as port, _connected(port) as idle, _connected(port) as busy:
        await _in_hand(drain, 0)
        await busy.send("a red apple")
        await _in_hand(drain, 1)
        finished = asyncio.create_task(drain.in_hand.finished())
        drain.refusing = True
        await idle.send("too late")
        assert await _closed(idle) in (RESTARTING, 1000, 1011, None)
        await busy.send("go on")
        assert await asyncio.wait_for(busy.recv(), SOON_S) == "a red apple"
        await asyncio.wait_for(finished, SOON_S)


async def test_one_that_has_asked_for_nothing_is_told_that_the_server_restarts() -> None:
    drain = Drain(60)
    app = Draining(_echo, drain, refusal_for, lambda scope: True)
    async with served(app) as port, _connected(port) as idle:
        await _in_hand(drain, 0)
        await asyncio.wait_for(drain.in_hand.finished(), SOON_S)
        drain.in_hand.cut()
        assert await _closed(idle) == RESTARTING
