"""Limits how many event streams and WebSockets one client has open: each holds memory and a socket without end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.contract_table import ContractTable
from api.openapi_description.event_streams import EVENT_STREAM
from core.caller import current_caller
from core.errors import RateExceeded
from core.interrupted import Interrupted

RETRY_S = 5


class OpenStreams:
    """ASGI middleware behind the door: answers 429 to a caller who has too many open."""

    def __init__(self, app: ASGIApp, most: int, contracts: ContractTable) -> None:
        self._app = app
        self._most = most
        self._contracts = contracts
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket" and self._is_full():
            await self._refusal(scope)(scope, receive, send)
        else:
            with ExitStack() as held:
                if scope["type"] == "websocket":
                    held.enter_context(self._one_more())
                await self._app(scope, receive, self._counting(scope, receive, send, held))

    def _counting(self, scope: Scope, receive: Receive, send: Send, held: ExitStack) -> Send:
        """Return a `send` that counts an answer if it is a stream, or refuses and interrupts it as one too many."""

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_stream(message):
                if self._is_full():
                    await self._refusal(scope)(scope, receive, send)
                    raise Interrupted(self._too_many())
                held.enter_context(self._one_more())
            await send(message)

        return send_counted

    def _is_full(self) -> bool:
        return self._open[current_caller().name] >= self._most

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        """Count one stream of the current caller while the block runs."""
        caller = current_caller().name
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    def _refusal(self, scope: Scope) -> ASGIApp:
        return self._contracts.refusal_for(scope["path"], self._too_many())

    def _too_many(self) -> RateExceeded:
        return RateExceeded(f"{self._most} streams are open, which is the most for one client", RETRY_S)


def _is_stream(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith(EVENT_STREAM)
