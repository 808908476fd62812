"""Normalizes paths, whatever clients and proxies make of them, and answers at addresses that have no route.

Double and trailing slashes are removed here rather than by a redirect, since clients may repeat a redirected POST
without its body. If a proxy shows the server under a path, `X-Forwarded-Prefix` or the path of `JUBAKO_PUBLIC_URL`
says so; links and redirects then begin with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.contract_table import ContractTable
from api.http.docs_pages import PREFIX
from core.errors import JubakoError, UnknownAddress, WrongMethod
from processes.http.protocol import peer_of
from settings.sections.network import EVERY

_FOLDERS = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_READS = ("GET", "HEAD")


class Addresses:
    """ASGI middleware in front of all others that look at paths: normalizes them to the form of the routes."""

    def __init__(
        self, app: ASGIApp, contracts: ContractTable, public_url: str | None, trusted_proxies: Sequence[str]
    ) -> None:
        self._app = app
        self._contracts = contracts
        self._public_prefix = urlsplit(public_url or "").path
        self._trusts_all = EVERY in trusted_proxies
        self._proxies = [ip_network(proxy) for proxy in trusted_proxies if proxy != EVERY]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        prefix, path = self._removed_prefix(scope), re.sub("/{2,}", "/", scope["path"])
        if prefix is None:
            prefix, path = self._public_prefix, self._without_public_prefix(path)
        path = self._without_last_slash(scope, path)
        await self._app({**scope, "path": path, PREFIX: prefix}, receive, send)

    def _removed_prefix(self, scope: Scope) -> str | None:
        """Return the prefix that a trusted proxy says it has removed from the path, if it says so."""
        prefix = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
        return prefix if _FOLDERS.fullmatch(prefix) and self._is_trusted(peer_of(scope)) else None

    def _is_trusted(self, peer: str | None) -> bool:
        if peer is None or self._trusts_all:
            return self._trusts_all
        return any(ip_address(peer) in network for network in self._proxies)

    def _without_public_prefix(self, path: str) -> str:
        """Remove a prefix that the proxy has left in the path, unless the prefix is also a contract's address."""
        prefix = self._public_prefix
        if not path.startswith(f"{prefix}/") or self._contracts.owns(prefix):
            return path
        return path.removeprefix(prefix)

    def _without_last_slash(self, scope: Scope, path: str) -> str:
        """Remove a trailing slash, except from pages' addresses: their links are relative to it."""
        is_page = scope.get("method") in _READS and not (self._contracts.owns(path) and path.count("/") > 2)
        return path if is_page else path.rstrip("/") or "/"


class UnderPrefix:
    """ASGI middleware behind all others: passes the prefix to the routes, and answers where there is no route."""

    def __init__(self, app: ASGIApp, contracts: ContractTable) -> None:
        self._app = app
        self._contracts = contracts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        prefix, path = scope.get(PREFIX, ""), scope["path"]
        routed = {**scope, "root_path": prefix, "path": prefix + path}
        replaced = False

        async def answer(message: Message) -> None:
            nonlocal replaced
            error = _router_error(routed, message) if message["type"] == "http.response.start" else None
            if error is not None:
                replaced = True
                await self._contracts.refusal_for(path, error)(scope, receive, send)
            elif not replaced:
                await send(message)

        await self._app(routed, receive, answer)


def _router_error(routed: Scope, start: Message) -> JubakoError | None:
    """Return our error for a router's own answer that there is no route, or none for this method.

    Routers record the route that they find in the scope. Where there is none, they may redirect to the address with a
    slash, which is of no use to writes: it would be removed again.
    """
    status, headers = start["status"], Headers(raw=start.get("headers", []))
    if status == HTTPStatus.METHOD_NOT_ALLOWED and headers.get("content-type", "").startswith("text/plain"):
        return WrongMethod(routed["method"], headers.get("allow", ""))
    redirected = status == HTTPStatus.TEMPORARY_REDIRECT and routed.get("method") not in _READS
    found_nothing = "endpoint" not in routed and (status == HTTPStatus.NOT_FOUND or redirected)
    return UnknownAddress() if found_nothing else None
