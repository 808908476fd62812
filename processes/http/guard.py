"""Makes sure that every request is answered, whatever happens behind it, and that the log says why.

It is in front of everything but the counting of requests. BentoML's time limit, in front of it, waits for an answer to
begin, so after an exception before that the client would wait until the time is up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from core.errors import Cancelled, GenerationFailed, InvalidRequest, JubakoError, RequestTimeout, TargetTooLong
from core.interrupted import Interrupted

log = logging.getLogger("jubako.http")

MAX_TARGET_BYTES = 2048
"""The longest path and query together. Our longest have ids and names of results."""
SLOWEST_UPLOAD_BYTES_PER_S = 1024
"""A tenth of a phone's speed with hardly any reception; clients that trickle bytes cannot hold a connection."""
UNEXPECTED = "an unexpected error has occurred; it is in the server's log"
_CLOSED_BY_ERROR = 1011


class Guard:
    """ASGI middleware: refuses bad request targets, ends stalled uploads, and answers after any exception."""

    def __init__(
        self, app: ASGIApp, refusal_for: Callable[[str, JubakoError], ASGIApp], client_timeout_s: float
    ) -> None:
        """`refusal_for` returns the answer to an error, in the shape of a path's contract."""
        self._app = app
        self._refusal_for = refusal_for
        self._client_timeout_s = client_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._client_timeout_s)
        error = await self._error_of(scope, exchange)
        if error is None or exchange.ended:
            return
        if not exchange.begun:
            await self._refusal_for(scope["path"], error)(scope, receive, exchange.send)
        elif scope["type"] == "websocket" and not exchange.gone:
            await exchange.send({"type": "websocket.close", "code": _CLOSED_BY_ERROR})
        # Otherwise the answer breaks off, and the server closes its connection.

    async def _error_of(self, scope: Scope, exchange: _Exchange) -> JubakoError | None:
        """Let the application answer; return the error to answer with if it has failed."""
        try:
            refuse_bad_target(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except Interrupted as ended:
            return ended.error
        except JubakoError as error:
            return error
        except WebSocketDisconnect:
            return None
        except Exception as error:
            if exchange.gone and isinstance(error, OSError):
                return None
            log.exception("an error that nothing caught: %s %r", scope.get("method", "WebSocket"), scope["path"])
            return GenerationFailed(UNEXPECTED)
        if not exchange.begun and not exchange.gone:
            log.error("nothing has answered %s %r", scope.get("method", "WebSocket"), scope["path"])
            return GenerationFailed(UNEXPECTED)
        return None


def refuse_bad_target(scope: Scope) -> None:
    """Raise InvalidRequest or TargetTooLong."""
    if not scope["path"].startswith("/"):
        raise InvalidRequest("target", "a request's target must begin with /")
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        raise TargetTooLong(f"path and query are longer than {MAX_TARGET_BYTES} bytes")


class _Exchange:
    """One request and its answer, as messages; tracks how far each has come."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, timeout_s: float) -> None:
        self.begun = False
        """Whether an answer has begun, or a WebSocket has been accepted."""
        self.ended = False
        """Whether a WebSocket is closed or refused."""
        self.gone = False
        """Whether the client has disconnected."""
        self._uploading = scope["type"] == "http"
        self._receive = receive
        self._send = send
        self._timeout_s = timeout_s
        self._time_left_s = timeout_s
        """Time for the rest of the upload; each part that arrives adds to it."""

    async def receive(self) -> Message:
        message = await self._next_part() if self._uploading else await self._receive()
        if message["type"].endswith(".disconnect"):
            self.gone = True
            if self._uploading and not self.begun:
                raise Interrupted(Cancelled("the client disconnected"))
        self._uploading = self._uploading and message.get("more_body", False)
        self._time_left_s += len(message.get("body", b"")) / SLOWEST_UPLOAD_BYTES_PER_S
        return message

    async def _next_part(self) -> Message:
        started_s = time.monotonic()
        try:
            async with asyncio.timeout(min(self._timeout_s, self._time_left_s)):
                return await self._receive()
        except TimeoutError as error:
            if self.begun:
                return await self._receive()
            reason = f"the request's body has not arrived: a client may pause for {self._timeout_s:g} s"
            slowest = f"{SLOWEST_UPLOAD_BYTES_PER_S} bytes a second"
            raise Interrupted(RequestTimeout(f"{reason}, and must send {slowest} on average")) from error
        finally:
            self._time_left_s -= time.monotonic() - started_s

    async def send(self, message: Message) -> None:
        self.begun = True
        self.ended = self.ended or message["type"] in ("websocket.close", "websocket.http.response.start")
        try:
            await self._send(message)
        except OSError:
            # How uvicorn says that a WebSocket's client is gone.
            self.gone = True
            raise
