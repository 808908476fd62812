"""`HEAD`, wherever there is `GET`: FastAPI's routes know only the methods that they name."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOT_ALLOWED = 405


class HeadLikeGet:
    """ASGI middleware: answers HEAD as the route does, or with the headers of its answer to GET if it takes no HEAD."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "HEAD":
            await self._app(scope, receive, send)
            return
        refused = False

        async def unless_refused(message: Message) -> None:
            nonlocal refused
            refused = refused or message.get("status") == NOT_ALLOWED
            if not refused:
                await send(message)

        await self._app(scope, receive, unless_refused)
        if refused:
            await self._as_get(scope, send)

    async def _as_get(self, scope: Scope, send: Send) -> None:
        begun = asyncio.Event()
        messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            if (message := next(messages, None)) is not None:
                return message
            # Disconnect, or a stream of events would never end.
            await begun.wait()
            return {"type": "http.disconnect"}

        async def only_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                begun.set()
            # Yield to the event loop, so that a source that never waits notices the disconnect.
            await asyncio.sleep(0)

        await self._app({**scope, "method": "GET"}, receive, only_head)
