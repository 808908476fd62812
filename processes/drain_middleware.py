"""How a server that is being stopped answers: new work is refused, work in hand is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import Busy, JubakoError
from processes.drain import Drain
from processes.in_hand import Held

RETRY_S = 5
RESTARTING = 1012
"""The close code of a WebSocket whose server restarts."""
STOPPING = "this server is being stopped; try again later, or another one"


class Draining:
    """ASGI middleware: counts requests in hand, and answers 503 to new ones once the server is stopping.

    Reads (health, a job's state, a result) are answered to the end. Watchers of a job, by a GET stream or a WebSocket,
    are cut off when the server ends, and may watch elsewhere; so are WebSockets that have not sent a request yet.
    """

    def __init__(
        self,
        app: ASGIApp,
        drain: Drain,
        refusal_for: Callable[[str, JubakoError], ASGIApp],
        generates: Callable[[Scope], bool],
    ) -> None:
        """`refusal_for` returns the answer to an error, in the shape of a path's contract; `generates` says whether a
        request starts work.
        """
        self._generates = generates
        self._app = app
        self._drain = drain
        self._refusal_for = refusal_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        with self._drain.in_hand.holding() as held:
            answer = _Answer(scope, send, self._drain, held)
            if self._drain.refusing and self._generates(scope):
                await self._refuse(scope, receive, answer)
                return
            if scope["type"] == "websocket":
                held.only_watches()
                receive = self._until_asked(receive, held) if self._generates(scope) else receive
            try:
                await self._app(scope, receive, answer)
            except asyncio.CancelledError:
                if not self._drain.in_hand.over:
                    raise
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": RESTARTING})
                elif not answer.begun:
                    await self._refuse(scope, receive, answer)

    def _until_asked(self, receive: Receive, held: Held) -> Receive:
        """Return a `receive` after whose first message the shutdown waits for the WebSocket."""
        asked = False

        async def receive_request() -> Message:
            nonlocal asked
            message = await receive()
            if asked or message["type"] != "websocket.receive":
                return message
            if self._drain.refusing:
                return {"type": "websocket.disconnect", "code": RESTARTING}
            asked = True
            held.works()
            return message

        return receive_request

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._refusal_for(scope["path"], Busy(STOPPING, RETRY_S))(scope, receive, send)


class _Answer:
    """Forwards an answer; its start shows whether it is a stream that only watches."""

    def __init__(self, scope: Scope, send: Send, drain: Drain, held: Held) -> None:
        self.begun = False
        self._reads = scope.get("method") == "GET"
        self._send = send
        self._drain = drain
        self._held = held

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            if self._reads and Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream"):
                self._held.only_watches()
            if self._drain.begun:
                # The client should send its next request to another server.
                MutableHeaders(scope=message)["Connection"] = "close"
        await self._send(message)
