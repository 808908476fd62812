"""The limit on the size of request bodies, for every address of the server."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.contract_table import ContractTable
from core.errors import TooLarge


class UploadLimit:
    """ASGI middleware: answers 413 to a body whose declared or actual length is too large."""

    def __init__(self, app: ASGIApp, max_bytes: int, contracts: ContractTable) -> None:
        self._contracts = contracts
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif int(Headers(scope=scope).get("content-length", 0)) > self._max_bytes:
            await self._refusal(scope)(scope, receive, send)
        else:
            await self._count(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen, answered = 0, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise TooLarge("the body is too large")
            return message

        async def replaced(message: Message) -> None:
            nonlocal answered
            if seen <= self._max_bytes:
                await send(message)
            elif not answered:
                # In place of whatever the application made of the error.
                answered = True
                await self._refusal(scope)(scope, receive, send)

        await self._app(scope, counted, replaced)

    def _refusal(self, scope: Scope) -> ASGIApp:
        return self._contracts.refusal_for(
            scope["path"], TooLarge(f"the request body is larger than {self._max_bytes} bytes")
        )
