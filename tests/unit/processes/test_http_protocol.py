"""Connections whose clients stall are closed."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from processes.http import protocol as http_protocol
from processes.http.protocol import FLUSH_S
from settings import Settings
from tests.support.servers.in_process_server import said_to, served

TIMEOUT_S = 0.2
ENDS_S = 5.0
CHUNK = b"a" * 2**20


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "settings", lambda: Settings(client_timeout_s=TIMEOUT_S))


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("fine")(scope, receive, send)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nHo"])
async def test_half_a_head_is_not_waited_for(sent: bytes) -> None:
    async with served(fine) as port, asyncio.timeout(ENDS_S):
        assert await said_to(port, sent) == b""


async def test_nor_is_one_that_trickles() -> None:
    async with served(fine) as port:
        started = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        while not reader.at_eof() and time.monotonic() < started + ENDS_S:
            writer.write(b"a")
            with_timeout = asyncio.wait_for(reader.read(1), TIMEOUT_S / 4)
            await asyncio.gather(with_timeout, return_exceptions=True)
        assert reader.at_eof()
        writer.close()


async def test_half_a_head_after_a_request_is_not_waited_for() -> None:
    async with served(fine) as port, asyncio.timeout(ENDS_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"fine")
        # From here on, uvicorn no longer minds how long it takes.
        writer.write(b"GET / HT")
        assert await reader.read() == b""
        writer.close()


async def test_an_answer_may_take_longer() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(TIMEOUT_S * 2)
        await fine(scope, receive, send)

    async with served(slow) as port:
        assert b" 200 " in await said_to(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


async def test_a_websocket_may_be_silent_for_longer() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        accepted = WebSocket(scope, receive, send)
        await accepted.accept()
        await accepted.send_text(await accepted.receive_text())

    async with served(echo) as port, connect(f"ws://127.0.0.1:{port}/") as client:
        await asyncio.sleep(TIMEOUT_S * 2)
        await client.send("still here")
        assert await client.recv() == "still here"


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Send without end, until the client is gone."""
    if scope["type"] == "websocket":
        accepted = WebSocket(scope, receive, send)
        await accepted.accept()
        while True:
            await accepted.send_bytes(CHUNK)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    leaving = asyncio.ensure_future(gone(receive))
    while not leaving.done():
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
        # To a client that is gone, it does not wait.
        await asyncio.sleep(0)


async def gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", UPGRADE])
async def test_an_answer_that_is_not_read_ends(sent: bytes) -> None:
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await endless(scope, receive, send)
        finally:
            ended.set()

    async with served(app) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(sent)
            await asyncio.wait_for(ended.wait(), ENDS_S)


async def test_who_reads_slowly_but_steadily_gets_it_all() -> None:
    whole = CHUNK * 24

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(whole)(scope, receive, send)

    async with served(large) as port, asyncio.timeout(200):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        began, got = time.monotonic(), 0
        while got < len(whole):
            got += len(await reader.read(2**20))
            # Beyond the timeout as a whole, and far below it for each part.
            await asyncio.sleep(TIMEOUT_S / 20)
        assert time.monotonic() - began > 2 * TIMEOUT_S
        writer.close()


async def test_the_end_of_a_server_does_not_wait_for_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "settings", lambda: Settings(client_timeout_s=600))
    async with served(endless) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readexactly(1)
        began = time.monotonic()
    assert time.monotonic() - began < FLUSH_S + ENDS_S
    writer.close()
