"""BentoML's limit on the time until an answer begins, with a timer that ends with its request.

BentoML leaves the timer in the event loop until the limit has passed, and with it the request's context: the requests
of the last ten minutes stay in memory, at some 10 KB each.
"""

from __future__ import annotations

import asyncio

from bentoml._internal.server.http import traffic
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class TimeLimit:
    """ASGI middleware in place of `bentoml._internal.server.http.traffic.TimeoutMiddleware`."""

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self._app = app
        self._timeout_s = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._timeout_s) as limit:

                async def begin(message: Message) -> None:
                    limit.reschedule(None)
                    await send(message)

                await self._app(scope, receive, begin)
        except TimeoutError:
            if not limit.expired():
                raise
            refused = {"error": f"no answer has begun within {self._timeout_s:g} s", "code": "deadline_exceeded"}
            await JSONResponse(refused, 504)(scope, receive, send)


def limit_time() -> None:
    """Have this process's servers use it; call this before BentoML makes them."""
    traffic.TimeoutMiddleware = TimeLimit  # type: ignore[misc, assignment]  # the same interface
