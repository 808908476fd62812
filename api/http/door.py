"""The door of the server: no contract can forget to check keys and rates, since none is asked before."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from access.keys import Keyring
from access.rates import RateLimiter
from api.http.paths import is_counted, is_open, needs_admin
from core.caller import Caller, set_caller
from core.errors import Forbidden, JubakoError, Unauthorized

RefusalFor = Callable[[str, JubakoError], Response]
"""Makes the answer to an error in the shape of the contract that a path belongs to."""


class Door:
    """ASGI middleware: finds out who calls, refuses who may not, counts, and tells the rest of the server."""

    def __init__(self, app: ASGIApp, keyring: Keyring, limiter: RateLimiter, refusal_for: RefusalFor) -> None:
        self._app = app
        self._keyring = keyring
        self._limiter = limiter
        self._refusal_for = refusal_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or is_open(scope):
            await self._app(scope, receive, send)
            return
        try:
            caller = self._caller(scope)
            send = self._telling(caller, send)
            if is_counted(scope):
                await self._limiter.count_request(caller)
        except JubakoError as error:
            await self._refused(scope, receive, send, error)
        else:
            set_caller(caller)
            await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller:
        """Return who calls. Raises Unauthorized or Forbidden."""
        owner = self._keyring.owner(key) if (key := _key(scope)) else None
        if owner is None and (self._keyring.closed or (needs_admin(scope) and self._keyring.callers)):
            raise Unauthorized("the key is wrong" if key else "a key is needed: Authorization: Bearer KEY")
        if owner is not None and needs_admin(scope) and not owner.admin:
            raise Forbidden("this needs the key of an admin")
        return owner or self._keyring.anonymous(_address(scope))

    def _telling(self, caller: Caller, send: Send) -> Send:
        """Return `send` with the caller's limits in the headers of answers."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(await self._limiter.headers(caller))
            await send(message)

        return told

    async def _refused(self, scope: Scope, receive: Receive, send: Send, error: JubakoError) -> None:
        answer = self._refusal_for(scope["path"], error)
        if isinstance(error, Unauthorized):
            answer.headers["WWW-Authenticate"] = "Bearer"
        await answer(scope, receive, send)


def _key(scope: Scope) -> str:
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _address(scope: Scope) -> str:
    host: str = scope["client"][0] if scope.get("client") else ""
    return host
