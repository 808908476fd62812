"""`x-request-id`: a name for each answer, by which a client and the operator can talk about it."""

from __future__ import annotations

import re
import uuid

from bentoml._internal.context import trace_context
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-request-id"
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestIds:
    """ASGI middleware: gives every answer, errors included, the id that a proxy sent, or else the log's id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        name = _name_of(scope)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = name
            await send(message)

        await self._app(scope, receive, named)


def _name_of(scope: Scope) -> str:
    given = Headers(scope=scope).get(HEADER, "")
    if _NAME.fullmatch(given):
        return given
    span = trace_context.request_id
    return uuid.uuid4().hex if span is None else f"{span:016x}"
