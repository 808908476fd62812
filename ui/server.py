"""The server as the caller of this page sees it: every call has the key that came with the browser's request."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gradio as gr

from client.asynchronous import AsyncJubako
from client.calls import models
from client.connection import TIMEOUT_S, AsyncConnection
from ui.reaching import InsideJubako

KEPT_CLIENTS = 64
"""Clients of so many callers stay connected."""


class Server:
    """Makes clients of one address, for each caller its own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._clients = lru_cache(KEPT_CLIENTS)(lambda key: InsideJubako(address, key))
        self._connections = lru_cache(KEPT_CLIENTS)(lambda key: AsyncConnection(address, key, TIMEOUT_S))

    def client(self, request: gr.Request) -> AsyncJubako:
        """Return the client with the key that a request came with."""
        return self._clients(_key(request))

    def connection(self, request: gr.Request) -> AsyncConnection:
        """Return the same caller's connection, for calls that the client has no method for (`client.calls.Call`)."""
        return self._connections(_key(request))

    async def models(self, request: gr.Request) -> list[dict[str, Any]]:
        """Return what `GET /models` says to the caller. Raises Refused or Unreachable."""
        return [model.fields for model in await self.connection(request).send(models())]


def _key(request: gr.Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" and key else None
