"""What callers meet while a server is being stopped: new work is refused, what is in hand is finished."""

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
"""The code with which a WebSocket is closed because its server restarts."""
STOPPING = "this server is being stopped; try again later, or another one"


class Draining:
    """ASGI middleware: counts requests in hand, and answers 503 to new ones once the server is stopping.

    Reading (health, the state of a job, a result) is answered to the end. Those who only watch a job, by a stream that
    is read with GET or by a WebSocket, are cut off when the server ends, and may watch it elsewhere; so are WebSockets
    that have asked for nothing yet.
    """

    def __init__(
        self,
        app: ASGIApp,
        drain: Drain,
        refusal_for: Callable[[str, JubakoError], ASGIApp],
        generates: Callable[[Scope], bool],
    ) -> None:
        """`refusal_for` returns the answer to an error in the shape that belongs to a path; `generates` says whether a
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
        """Return a `receive` that has the end wait for the WebSocket once its request has come."""
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
    """Sends an answer on, and looks at its beginning."""

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
                # The next request on this connection is for another server.
                MutableHeaders(scope=message)["Connection"] = "close"
        await self._send(message)
