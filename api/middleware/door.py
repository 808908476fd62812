"""The door of the server: checks keys and rates before any contract is reached, so that none can forget to."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from access.bearer import bearer_key
from access.keys import Keyring
from access.rates import RateLimiter
from api.http.contract_table import ContractTable
from core.caller import Caller, set_caller
from core.errors import Forbidden, JubakoError, Unauthorized


class Door:
    """ASGI middleware: identifies the caller, checks permissions and rates, and sets `current_caller`."""

    def __init__(self, app: ASGIApp, keyring: Keyring, limiter: RateLimiter, contracts: ContractTable) -> None:
        self._app = app
        self._keyring = keyring
        self._limiter = limiter
        self._contracts = contracts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._contracts.is_open(scope):
            await self._app(scope, receive, send)
            return
        try:
            caller = self._caller(scope)
            send = self._with_limits(caller, send)
            if self._contracts.counts(scope):
                await self._limiter.count_request(caller)
        except JubakoError as error:
            await self._refuse(scope, receive, send, error)
        else:
            set_caller(caller)
            await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller:
        """Identify the caller. Raises Unauthorized or Forbidden."""
        owner = self._keyring.owner(key) if (key := bearer_key(scope)) else None
        needs_admin = self._contracts.needs_admin(scope)
        if owner is None and (self._keyring.closed or (needs_admin and self._keyring.callers)):
            raise Unauthorized("the key is wrong" if key else "a key is needed: Authorization: Bearer KEY")
        if owner is not None and needs_admin and not owner.admin:
            raise Forbidden("this needs an admin's key")
        return owner or self._keyring.anonymous(_address(scope))

    def _with_limits(self, caller: Caller, send: Send) -> Send:
        """Return a `send` that adds the caller's rate limits to response headers."""

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(await self._limiter.headers(caller))
            await send(message)

        return send_with_limits

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, error: JubakoError) -> None:
        answer = self._contracts.refusal_for(scope["path"], error)
        if isinstance(error, Unauthorized):
            answer.headers["WWW-Authenticate"] = "Bearer"
        await answer(scope, receive, send)


def _address(scope: Scope) -> str:
    host: str = scope["client"][0] if scope.get("client") else ""
    return host
