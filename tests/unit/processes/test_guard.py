"""Requests that something breaks are answered at once, behind BentoML's limit of time as in the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from core.errors import JubakoError
from processes.http.guard import MAX_TARGET_BYTES, Guard
from tests.support.servers.in_process_server import said_to, served

AT_ONCE_S = 5.0
TIMEOUT_S = 0.2
CLOSE = b"Host: a\r\nConnection: close\r\n"

Answer = Callable[[Request], Awaitable[Response]]


def refusal_for(path: str, error: JubakoError) -> ASGIApp:
    return JSONResponse({"error": error.message, "code": error.code}, error.status)


def guarded(app: ASGIApp) -> ASGIApp:
    return TimeoutMiddleware(Guard(app, refusal_for, TIMEOUT_S), timeout=600)


def answering(answer: Answer) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (await answer(Request(scope, receive)))(scope, receive, send)

    return guarded(app)


async def fine(_: Request) -> Response:
    return PlainTextResponse("fine")


async def reading(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def status_of(app: ASGIApp, sent: bytes) -> int:
    async with served(app) as port, asyncio.timeout(AT_ONCE_S):
        return int((await said_to(port, sent)).split()[1])


@pytest.mark.parametrize("target", ["nowhere", "*", "http://a/health", "host:443", "%2fhealth?", "?a=b"])
async def test_a_target_without_a_slash_is_refused(target: str) -> None:
    expected = 200 if target.startswith("%2f") else 400
    assert await status_of(answering(fine), f"GET {target} HTTP/1.1\r\n".encode() + CLOSE + b"\r\n") == expected


@pytest.mark.parametrize("separator", ["", "?"])
async def test_a_target_may_have_two_kilobytes(separator: str) -> None:
    for length, status in ((MAX_TARGET_BYTES, 200), (MAX_TARGET_BYTES + 1, 414)):
        target = f"/{separator}".ljust(length + len(separator), "a")
        assert await status_of(answering(fine), f"GET {target} HTTP/1.1\r\n".encode() + CLOSE + b"\r\n") == status


async def test_an_exception_before_the_answer_is_a_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: Request) -> Response:
        raise KeyError("the cause")

    assert await status_of(answering(broken), b"GET /%0afake HTTP/1.1\r\n" + CLOSE + b"\r\n") == 500
    (line,) = [record for record in caplog.records if record.name == "jubako.http"]
    assert line.getMessage() == r"an error that nothing caught: GET '/\nfake'"
    assert "the cause" in caplog.text


async def test_no_answer_at_all_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    assert await status_of(guarded(silent), b"GET / HTTP/1.1\r\n" + CLOSE + b"\r\n") == 500
    assert "nothing has answered GET '/'" in caplog.text


async def test_an_exception_in_the_middle_breaks_the_answer_off(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("the cause")

    async with served(guarded(app)) as port, asyncio.timeout(AT_ONCE_S):
        assert not (await said_to(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).endswith(b"0\r\n\r\n")
    assert "the cause" in caplog.text


class TestUploads:
    HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"

    async def test_one_that_stalls_is_a_408(self) -> None:
        async with served(answering(reading)) as port, asyncio.timeout(AT_ONCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(self.HEAD + b"half")
            assert b" 408 " in await reader.readline()
            writer.close()

    async def test_one_that_is_slow_is_read(self) -> None:
        async with served(answering(reading)) as port, asyncio.timeout(AT_ONCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(self.HEAD.replace(b"10", b"2000"))
            for _ in range(10):
                await asyncio.sleep(TIMEOUT_S / 4)
                writer.write(bytes(200))
            assert b" 200 " in await reader.readline()
            writer.close()

    async def test_one_that_trickles_is_a_408_too(self) -> None:
        async with served(answering(reading)) as port, asyncio.timeout(AT_ONCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(self.HEAD.replace(b"10", b"1000"))
            answer = asyncio.create_task(reader.readline())
            while not answer.done():
                await asyncio.sleep(TIMEOUT_S / 20)
                writer.write(b"a")
            assert b" 408 " in await answer
            writer.close()

    async def test_a_client_that_leaves_is_a_499_and_nothing_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)
        statuses: asyncio.Queue[int] = asyncio.Queue()
        inner = answering(reading)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    statuses.put_nowait(message["status"])
                await send(message)

            await inner(scope, receive, noted)

        async with served(app) as port, asyncio.timeout(AT_ONCE_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(self.HEAD + b"half")
            writer.close()
            assert await statuses.get() == 499
        assert caplog.records == []


class TestWebSockets:
    async def test_an_exception_closes_it_and_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            socket = WebSocket(scope, receive, send)
            await socket.accept()
            raise KeyError("the cause")

        async with served(guarded(app)) as port, connect(f"ws://127.0.0.1:{port}/") as socket:
            await asyncio.wait_for(socket.wait_closed(), AT_ONCE_S)
            assert socket.close_code == 1011
        assert "the cause" in caplog.text

    async def test_sending_to_a_client_that_left_is_no_error(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)
        ended = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            socket = WebSocket(scope, receive, send)
            await socket.accept()
            try:
                while True:
                    await socket.send_text("news")
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        async with served(guarded(app)) as port:
            async with connect(f"ws://127.0.0.1:{port}/") as socket:
                await socket.recv()
            await asyncio.wait_for(ended.wait(), AT_ONCE_S)
        assert caplog.records == []
