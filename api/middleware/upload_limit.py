"""The limit on the size of request bodies, for every address of the server."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import TooLarge
from core.interrupted import Interrupted


class UploadLimit:
    """ASGI middleware behind `processes.guard`: ends requests whose declared or actual length is too large."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._refuse_over(int(Headers(scope=scope).get("content-length", 0)))
        seen_bytes = 0

        async def counted() -> Message:
            nonlocal seen_bytes
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            self._refuse_over(seen_bytes)
            return message

        await self._app(scope, counted, send)

    def _refuse_over(self, size_bytes: int) -> None:
        if size_bytes > self._max_bytes:
            raise Interrupted(TooLarge(f"the request body is larger than {self._max_bytes} bytes"))
