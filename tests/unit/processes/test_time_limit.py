"""The limit of time until an answer begins, as BentoML's servers have it here."""

from __future__ import annotations

import asyncio
from typing import Any

import bentoml
import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from processes.http.time_limit import TimeLimit, limit_time

LIMIT_S = 0.2


async def status_of(app: ASGIApp, limit_s: float) -> int:
    transport = httpx.ASGITransport(TimeLimit(app, limit_s))
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        return (await client.get("/")).status_code


def answering(before_s: float, after_s: float = 0.0) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(before_s)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(after_s)
        await send({"type": "http.response.body", "body": b""})

    return app


async def test_an_answer_that_does_not_begin_is_504() -> None:
    assert await status_of(answering(before_s=60), LIMIT_S) == 504


async def test_one_that_has_begun_may_take_as_long_as_it_likes() -> None:
    assert await status_of(answering(before_s=0, after_s=2 * LIMIT_S), LIMIT_S) == 200


async def test_errors_of_the_application_are_not_the_limits() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await status_of(app, LIMIT_S)


async def test_no_timer_outlives_its_request() -> None:
    loop: Any = asyncio.get_running_loop()
    before = sum(not timer.cancelled() for timer in loop._scheduled)
    for _ in range(20):
        await status_of(answering(before_s=0), 600)
    assert sum(not timer.cancelled() for timer in loop._scheduled) == before


def test_bentomls_servers_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from bentoml._internal.server.http import traffic

    monkeypatch.setattr(traffic, "TimeoutMiddleware", traffic.TimeoutMiddleware)
    limit_time()

    @bentoml.service(traffic={"timeout": 5})
    class Served:
        @bentoml.api  # type: ignore[untyped-decorator]
        def one(self) -> int:
            return 1

    middlewares = [each.cls for each in served_by(Served).user_middleware]
    assert TimeLimit in middlewares


def served_by(service: Any) -> Any:
    app = service.to_asgi()
    while not hasattr(app, "user_middleware"):
        app = app.app
    return app
